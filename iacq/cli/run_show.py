"""`iacq show`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from iacq.cli import evidence_lines, options, output, wording
from iacq.cli.app import App
from iacq.cli.command import Command, pass_app
from iacq.domain.run import Phase, Run, Status
from iacq.services import views
from iacq.store.runs import Event

_STEPS = (*views.TIMINGS,)


@click.command(cls=Command, example="iacq show 42 --plan")
@options.run_argument
@click.option("--plan", "plan_only", is_flag=True, help="Print the diff that was planned.")
@pass_app
def show(app: App, run_id: int, plan_only: bool) -> None:
    """Show one run: what it did, when, and why it waits. With --plan --json: terraform's JSON of the plan."""
    client = app.client
    if plan_only:
        _show_plan(app, run_id)
        return
    run, events, evidence = client.get(run_id), client.events(run_id), client.evidence(run_id)
    if app.as_json:
        known = views.evidence_to_json(evidence) if evidence else None
        shown = {**client.to_json(run), "events": [_event_to_json(event) for event in events], "evidence": known}
        output.emit(shown)
        return
    for name, value in _facts(app, run):
        if value is not None:
            output.line(f"{name + ':':<12} {value}")
    for text in (*_timings(run), *_timeline(events), *(evidence_lines.describe(run, evidence) if evidence else ())):
        output.line(text)
    if run.status is Status.APPLY_PENDING:
        output.line(f"\nRead it:    iacq show {run.id} --plan")
        output.line(f"Confirm it: {wording.confirm_command(run)}")


def _show_plan(app: App, run_id: int) -> None:
    if app.as_json:
        output.emit(app.client.plan_json(run_id))
    else:
        output.line(app.client.plan_text(run_id).rstrip("\n"))


def _facts(app: App, run: Run) -> Iterator[tuple[str, str | None]]:
    waiting = app.client.waiting(run)
    yield "Run", f"{run.id}  {run.run_type} of workspace {run.workspace}"
    yield "Status", run.status + (f" ({run.stage})" if run.stage else "")
    yield "Waiting", waiting.text if waiting else None
    yield "Error", output.printable_lines(f"{run.error_text} ({run.error_code})") if run.error_code else None
    yield "Message", output.printable(run.message) if run.message else None
    yield "Retry of", f"run {run.retry_of}" if run.retry_of is not None else None
    yield "Changes", wording.counts(run) if run.changes else None
    yield "Plan hash", run.plan_hash
    yield "Commit", run.commit
    yield (
        "Where",
        wording.place(run.queue) or (f"slot {run.slot_id} of pod {run.pod_name}" if run.pod_name else None),
    )
    yield "Asked by", f"{run.requested_by}, {output.moment(run.created_at)}"
    yield (
        "Confirmed",
        f"by {run.confirmed_by}, {output.moment(run.confirmed_at)}" if run.confirmed_at else None,
    )
    yield "Comment", output.printable(run.confirmed_comment) if run.confirmed_comment else None
    yield "Cancelled", f"asked by {run.cancel_requested_by}" if run.cancel_requested_at else None
    yield "Expires", output.moment(run.expires_at) if run.status is Status.APPLY_PENDING else None
    yield "Started", wording.start_tier(run)
    yield "Warm-up", wording.warm_up(run)
    yield "Terraform", run.terraform_version


def _timings(run: Run) -> list[str]:
    measured = [phase for phase in Phase if run.timings.get(phase)]
    if not measured:
        return []
    rows = [(phase, *(output.duration(wording.step_ms(run, phase, step)) for step in _STEPS)) for phase in measured]
    return ["", *output.table(("PHASE", *(step.upper() for step in _STEPS)), rows)]


def _timeline(events: Sequence[Event]) -> list[str]:
    rows = [
        (
            output.moment(event.at),
            event.target,
            event.cause,
            event.by,
            (event.details or "").split("\n")[0][:80],
        )
        for event in events
    ]
    return ["", *output.table(("AT", "STATUS", "CAUSE", "BY", "DETAILS"), rows)] if rows else []


def _event_to_json(event: Event) -> dict[str, str | None]:
    return {
        "at": views.rfc3339(event.at),
        "from": event.source,
        "to": event.target,
        "cause": event.cause,
        "by": event.by,
        "details": event.details,
    }
