"""`iacq runs`."""

from __future__ import annotations

import click

from iacq.cli import output, wording
from iacq.cli.app import App
from iacq.cli.command import Command, pass_app
from iacq.domain.run import Status


@click.command("list", cls=Command, example="iacq runs --workspace network --status apply_pending")
@click.option("--workspace", metavar="WORKSPACE", help="Only runs of this workspace.")
@click.option(
    "--status",
    "statuses",
    type=click.Choice([status.value for status in Status]),
    multiple=True,
    metavar="STATUS",
    help=f"Only runs in this state: {', '.join(Status)}.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="At most so many."
)
@pass_app
def list_runs(app: App, workspace: str | None, statuses: tuple[str, ...], limit: int) -> None:
    """List runs, newest first."""
    if workspace is not None:
        app.client.workspace(workspace)
    runs = app.client.list(workspace=workspace, status=statuses or None, limit=limit)
    if app.as_json:
        output.emit([app.client.to_json(run) for run in runs])
        return
    now = app.now_ms()
    rows = [
        (
            run.id,
            run.workspace,
            run.run_type,
            run.status,
            wording.short_counts(run),
            output.age(run.created_at, now),
            run.requested_by,
            run.message or "",
        )
        for run in runs
    ]
    headers = ("ID", "WORKSPACE", "TYPE", "STATUS", "CHANGES", "AGE", "BY", "MESSAGE")
    output.print_table(headers, rows, empty="No runs. `iacq plan WORKSPACE` makes one.")
