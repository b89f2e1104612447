"""`iacq queue` and `iacq slot`."""

from __future__ import annotations

import click

from iacq.cli import output, wording
from iacq.cli.app import App
from iacq.cli.command import Command, Group, pass_app
from iacq.domain import transitions
from iacq.domain.run import Run
from iacq.services import views


@click.command(cls=Command, example="iacq queue")
@pass_app
def queue(app: App) -> None:
    """Show what has not ended, in the order of dispatch, and why it waits."""
    waiting = app.client.queue()
    if app.as_json:
        output.emit([views.run_to_json(run, why) for run, why in waiting])
        return
    now = app.now_ms()
    rows = [
        (
            run.id,
            run.workspace,
            run.run_type,
            run.status,
            run.priority,
            output.age(run.created_at, now),
            _doing(run, why),
        )
        for run, why in ((run, why.text if why else None) for run, why in waiting)
    ]
    headers = ("ID", "WORKSPACE", "TYPE", "STATUS", "PRIORITY", "AGE", "WHY")
    output.print_table(headers, rows, empty="Nothing waits and nothing runs.")


def _doing(run: Run, why: str | None) -> str | None:
    if why is None and run.status in transitions.RUNNING:
        return f"runs in {wording.place(run.queue)}" + (f" ({run.stage})" if run.stage else "")
    return why


@click.group(cls=Group)
def slot() -> None:
    """Slots of pods: one place each where one phase runs."""


@slot.command("list", cls=Command, example="iacq slot list")
@pass_app
def list_slots(app: App) -> None:
    """List slots and who holds them."""
    slots = app.client.slots()
    if app.as_json:
        output.emit([views.slot_to_json(item) for item in slots])
        return
    now = app.now_ms()
    rows = [
        (
            item.pod_name,
            item.slot_id,
            item.status,
            item.closed,
            item.run_id,
            item.task_type,
            output.age(item.updated_at, now),
        )
        for item in slots
    ]
    headers = ("POD", "SLOT", "STATUS", "CLOSED", "RUN", "TYPE", "FOR")
    output.print_table(headers, rows, empty="No slots. `iacq up` starts a pod.")
