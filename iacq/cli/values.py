"""`iacq output` and `iacq state`: what applies left."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from iacq.cli import options, output
from iacq.cli.app import App
from iacq.cli.command import Command, Group, pass_app
from iacq.domain import terraform_values
from iacq.errors import NotFound
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
    """The versions of a managed state."""


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
            output.age(item.created_at, now),
            item.sha256[:12],
        )
        for item in versions
    ]
    headers = ("VERSION", "SERIAL", "RESOURCES", "BYTES", "RUN", "AGE", "SHA-256")
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
@pass_app
def pull_state(app: App, name: str, version: int | None) -> None:
    """Print a state as terraform wrote it, byte for byte. It holds secrets in clear."""
    data = app.client.pull_state(name, version=version)
    if app.as_json:
        output.emit(json.loads(data))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
