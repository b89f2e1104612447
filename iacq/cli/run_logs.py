"""`iacq logs`."""

from __future__ import annotations

import click

from iacq.cli import following, options, output
from iacq.cli.app import App
from iacq.cli.command import Command, pass_app
from iacq.domain.run import Phase
from iacq.errors import InvalidInput


@click.command(cls=Command, example="iacq logs 42 -f")
@options.run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends or waits for its confirmation.")
@click.option("--phase", type=click.Choice([phase.value for phase in Phase]), help="Only the log of this phase.")
@click.option(
    "--offset",
    type=click.IntRange(min=0),
    default=0,
    metavar="BYTES",
    help="Skip what was read (with --phase).",
)
@pass_app
def logs(app: App, run_id: int, follow: bool, phase: str | None, offset: int) -> None:
    """Print the log of a run, plan first. With --json one line of NDJSON each: phase, offset, text.

    The offset of a line is where the next one begins: --phase and --offset resume there.
    """
    if offset and phase is None:
        raise InvalidInput(
            "an offset belongs to the log of one phase",
            field="--offset",
            hint="add --phase plan or --phase apply",
        )
    run = app.client.get(run_id)
    with following.detaching(app, run):
        for line in app.client.logs(run_id, phase=phase, offset=offset, follow=follow):
            if app.as_json:
                output.stream({"phase": line.phase, "offset": line.offset, "text": line.text})
            else:
                output.line(line.text)
