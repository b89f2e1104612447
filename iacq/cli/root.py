"""The root of the command line: spelling, errors and exit codes of every command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

import iacq
from iacq.cli import failing, output, spelling
from iacq.cli.app import App
from iacq.cli.catalogue import SECTIONS
from iacq.cli.command import LazyGroup

_EPILOG = (
    "`iacq COMMAND --help` shows options and an example. Every command has --json.",
    "Exit code: 0 ok, 1 the run did not succeed or you declined, 2 bad input,",
    "3 not found, 4 conflict, 5 unavailable, 130 ^C.",
)


class Root(LazyGroup):
    """`iacq`."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 - click's signature; errors are always reported here
        windows_expand_args: bool = True,  # noqa: ARG002 - click's signature
        obj: App | None = None,
        **extra: Any,
    ) -> Any:
        """Run one command line and end the process with its exit code."""
        words = spelling.normalise(sys.argv[1:] if args is None else args)
        app = obj or App()
        app.as_json = spelling.wants_json(words)
        app.hear_warnings()
        try:
            result = super().main(words, prog_name or "iacq", complete_var, standalone_mode=False, obj=app, **extra)
        except NoArgsIsHelpError as error:  # a group without a command
            output.note(error.format_message())
            sys.exit(2)
        except Exception as error:
            if sys.flags.dev_mode:
                raise
            code = failing.report(failing.describe(error), as_json=app.as_json)
            sys.exit(1 if spelling.wants_one_code(words) and code != failing.INTERRUPTED else code)
        sys.exit(result if isinstance(result, int) else 0)


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"iacq {iacq.__version__}")
        ctx.exit()


cli = Root(
    name="iacq",
    sections=SECTIONS,
    epilog_lines=_EPILOG,
    help="A queue that runs Terraform: plan, confirm, apply in the same slot, without a second init.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    no_args_is_help=True,
)
cli.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        help="Print the version and end.",
        callback=_print_version,
    )
)
