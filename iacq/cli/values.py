"""`iacq output` and `iacq state`: what applies left."""

from __future__ import annotations

import json
import sys
from typing import Any, BinaryIO

import click

from iacq.cli import options, output
from iacq.cli.app import App
from iacq.cli.command import Command, Group, pass_app
from iacq.domain import terraform_values
from iacq.errors import InvalidInput, NotFound
from iacq.services import views


@click.command("output", cls=Command, example="iacq output network vpc_id")
@options.workspace_argument
@click.argument("wanted", metavar="[OUTPUT]", required=False)
@pass_app
def output_command(app: App, name: str, wanted: str | None) -> None:
    """Show the outputs of the last apply. One that is named is printed alone, a sensitive one too."""
    found = app.client.outputs(name)
    if wanted is not None:
        _print_one(app, name, found, wanted)
    elif app.as_json:
        output.emit(found)
    else:
        for key, value in sorted(found.items()):
            shown = "<sensitive>" if value.get("sensitive") else _formatted(value)
            output.line(f"{key} = {shown}")


def _print_one(app: App, name: str, found: dict[str, Any], wanted: str) -> None:
    if wanted not in found:
        known = ", ".join(sorted(found)) or "it has none"
        raise NotFound(f"workspace {name} has no output {wanted!a}", field="output", hint=f"outputs: {known}")
    if app.as_json:
        output.emit(found[wanted].get("value"))
    else:
        output.line(_formatted(found[wanted]))


def _formatted(value: dict[str, Any]) -> str:
    return terraform_values.format_value(value.get("value"), value.get("type"))


@click.group(cls=Group)
def state() -> None:
    """The versions of a managed state; locks of other backends."""


@state.command("list", cls=Command, example="iacq state list network")
@options.workspace_argument
@pass_app
def list_states(app: App, name: str) -> None:
    """List versions, newest first."""
    versions = app.client.states(name)
    if app.as_json:
        output.emit([views.state_to_json(version) for version in versions])
        return
    now = app.now_ms()
    rows = [
        (
            item.version,
            item.serial,
            item.resources,
            item.size,
            item.run_id,
            item.pushed_by,
            output.age(item.created_at, now),
            item.sha256[:12],
        )
        for item in versions
    ]
    headers = ("VERSION", "SERIAL", "RESOURCES", "BYTES", "RUN", "PUSHED BY", "AGE", "SHA-256")
    output.print_table(headers, rows, empty=f"Workspace {name} has no managed state.")


_version = click.option("--version", type=click.IntRange(min=1), metavar="N", help="Not the newest one.")


@state.command("show", cls=Command, example="iacq state show network")
@options.workspace_argument
@_version
@pass_app
def show_state(app: App, name: str, version: int | None) -> None:
    """List the resources of a state."""
    addresses = _addresses(app, name, version)
    if app.as_json:
        output.emit(addresses)
        return
    for address in addresses:
        output.line(address)


def _addresses(app: App, name: str, version: int | None) -> list[str]:
    from iacq.domain import state_file

    found = state_file.read(app.client.pull_state(name, version=version))
    return list(found.resources) if found else []


@state.command("pull", cls=Command, example="iacq state pull network > network.tfstate")
@options.workspace_argument
@_version
@click.option("--errored", type=options.RUN_ID, metavar="RUN", help="The errored.tfstate that this run left.")
@pass_app
def pull_state(app: App, name: str, version: int | None, errored: int | None) -> None:
    """Print a state as terraform wrote it, byte for byte. It holds secrets in clear."""
    if version is not None and errored is not None:
        raise InvalidInput("give one of --version and --errored", field="--errored")
    if errored is not None:
        data = app.client.pull_errored_state(name, errored)
    else:
        data = app.client.pull_state(name, version=version)
    if app.as_json:
        output.emit(json.loads(data))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


_force = click.option("--force", is_flag=True, help="Although it is refused; needs --reason.")
_reason = click.option("--reason", metavar="TEXT", help="Why; recorded.")


@state.command("push", cls=Command, example="iacq state push network errored.tfstate")
@options.workspace_argument
@click.argument("file", metavar="FILE", type=click.File("rb"))
@_force
@_reason
@pass_app
def push_state(app: App, name: str, file: BinaryIO, force: bool, reason: str | None) -> None:
    """Make a state the newest version of a managed state: of its lineage, with a greater serial. FILE - is stdin.

    Refused while a run changes the workspace. --force takes any lineage and serial.
    """
    pushed = app.client.push_state(name, file.read(), force=force, reason=reason)
    if app.as_json:
        output.emit(views.state_to_json(pushed))
    else:
        output.line(
            f"Version {pushed.version} of workspace {name}: serial {pushed.serial}, {pushed.resources} resources"
        )


@state.command("unlock", cls=Command, example="iacq state unlock network")
@options.workspace_argument
@click.option("--lock-id", metavar="ID", help="As terraform named it; default: the lock that the newest run met.")
@_force
@_reason
@pass_app
def unlock_state(app: App, name: str, lock_id: str | None, force: bool, reason: str | None) -> None:
    """Remove the lock that a dead apply left in the configuration's own backend: a new run does it, then plans.

    Refused while a run changes the workspace, and for a lock that is not known to be that of a dead apply. A managed
    state has no lock but its active run.
    """
    run = app.client.unlock_state(name, lock_id=lock_id, force=force, reason=reason)
    if app.as_json:
        output.emit({"workspace": name, "run": app.client.to_json(run) if run else None})
    elif run is None:
        output.line(f"Nothing holds the state of workspace {name}: iacq keeps it, and no run changes it.")
    else:
        output.line(f"Run {run.id} removes the lock, plans, and waits for a confirmation: iacq logs {run.id} -f")
        app.warn_if_nobody_dispatches()
