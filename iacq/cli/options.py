"""Options that several commands share, and what they are read into."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from iacq.errors import InvalidInput, NotFound

F = TypeVar("F", bound=Callable[..., Any])

_LARGEST_ID = 2**63 - 1
"""Of a database: the column may be BIGINT in a table that was there before iacq."""


class _RunId(click.ParamType[int]):
    name = "run"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> int:
        try:
            run_id = int(value)
        except ValueError:
            run_id = 0
        if run_id < 1:
            raise InvalidInput(
                f"{str(value)[:60]!a} is not a run id",
                field="run",
                hint="a run id is a whole number; `iacq runs` shows them",
            )
        if run_id > _LARGEST_ID:
            raise NotFound(f"there is no run {run_id}", field="run", hint="`iacq runs` shows them")
        return run_id


RUN_ID = _RunId()

run_argument = click.argument("run_id", metavar="RUN", type=RUN_ID)
workspace_argument = click.argument("name", metavar="WORKSPACE")


def assignments(values: Sequence[str], *, field: str) -> dict[str, str]:
    """Read `NAME=VALUE` options; a later one wins. Raises InvalidInput that does not show a value."""
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{field} {name[:60]!a} has no value", field=field, hint=f"write {field} NAME=VALUE")
        found[name] = text
    return found


def absolute(paths: Sequence[str]) -> tuple[str, ...]:
    """Make paths absolute, from this process's directory."""
    return tuple(os.path.abspath(os.path.expanduser(path)) for path in paths)


detach_option = click.option("--detach", is_flag=True, help="Print the id and return at once.")
_STATE_OPTIONS = (
    click.option("--import-state", is_flag=True, help="Take over the terraform.tfstate of the source."),
    click.option("--ignore-state", is_flag=True, help="Begin without the terraform.tfstate of the source."),
)


def state_options(function: F) -> F:
    """Add what is to be done with a terraform.tfstate in the source."""
    for option in reversed(_STATE_OPTIONS):
        function = option(function)
    return function


def run_options(function: F) -> F:
    """Add the options of every command that enqueues a run; they arrive as one mapping `asked`."""
    for option in reversed(_RUN_OPTIONS):
        function = option(function)
    return function


_RUN_OPTIONS = (
    click.option("--var", "variables", metavar="K=V", multiple=True, help="A variable of this run."),
    click.option("--var-file", "var_files", metavar="FILE", multiple=True, help="Variables from a file, read now."),
    click.option("--target", "targets", metavar="ADDRESS", multiple=True, help="Only this resource."),
    click.option("--replace", "replacements", metavar="ADDRESS", multiple=True, help="Replace this resource."),
    click.option("--refresh", type=bool, default=True, metavar="true|false", help="Refresh the state first."),
    click.option("--parallelism", type=int, metavar="N", help="Operations at a time; terraform's default is 10."),
    click.option("--priority", type=int, default=0, metavar="N", help="-100 to 100, higher first; default 0."),
    click.option("--key", "idempotency_key", metavar="KEY", help="The same key gives the same run."),
    click.option("--message", metavar="TEXT", help="What it is for, shown with the run."),
    detach_option,
    *_STATE_OPTIONS,
)
supersede_option = click.option("--supersede", is_flag=True, help="Discard older unconfirmed plans of the workspace.")


def enqueue_arguments(asked: dict[str, Any]) -> dict[str, Any]:
    """Turn parsed run options into the arguments of `Client.enqueue`."""
    return {
        **asked,
        "variables": assignments(asked["variables"], field="--var"),
        "var_files": absolute(asked["var_files"]),
    }
