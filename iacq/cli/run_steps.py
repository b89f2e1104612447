"""What people say about a run: `iacq confirm`, `discard`, `cancel`, `run resolve`."""

from __future__ import annotations

import click

from iacq.cli import asking, following, options, output, wording
from iacq.cli.app import App
from iacq.cli.command import Command, pass_app
from iacq.domain.run import Phase, Run, Status
from iacq.errors import InvalidInput


@click.command(cls=Command, example="iacq confirm 42 --plan-hash 0a1b2c3d4e5f --comment 'reviewed'")
@options.run_argument
@click.option("--plan-hash", metavar="HASH", help="The plan that you read: its hash, or the first 12 digits.")
@click.option("--yes", is_flag=True, help="Confirm whatever plan the run has, without a question.")
@click.option("--comment", metavar="TEXT", help="Recorded with the confirmation.")
@click.option("-f", "--follow", is_flag=True, help="Follow the apply.")
@pass_app
def confirm(app: App, run_id: int, plan_hash: str | None, yes: bool, comment: str | None, follow: bool) -> int:
    """Confirm the plan of a run; it is applied then. Returns at once; a repeat is fine.

    On a terminal it shows workspace, counts and hash, and asks. Elsewhere it needs --plan-hash or --yes.
    """
    run = app.client.get(run_id)
    seen = plan_hash or _seen(app, run, yes=yes)
    if seen is None:
        output.note("Not confirmed; the plan still waits.")
        return 1
    app.client.warm()
    run = app.client.confirm(run_id, plan_hash=seen, comment=comment)
    app.warn_if_nobody_dispatches()
    if follow:
        run = following.follow(app, run, Phase.APPLY)
        _show(app, run, wording.start_tier(run) or f"Run {run.id} is {run.status}")
        return following.report_end(app, run, Phase.APPLY)
    waits = app.client.waiting(run) if run.status is Status.CONFIRMED else None
    because = f" It waits: {waits.text}." if waits else ""
    _show(
        app,
        run,
        f"Run {run.id} is {run.status}, confirmed by {run.confirmed_by}.{because} Follow: iacq logs {run.id} -f",
    )
    return 0


def _seen(app: App, run: Run, *, yes: bool) -> str | None:
    """Find out which plan the caller has seen; None: they declined."""
    if yes or run.status is not Status.APPLY_PENDING:
        # Any other state is answered by the service: a repeat, or a conflict.
        return run.plan_hash or "0" * 64
    if not app.may_ask:
        raise InvalidInput(
            f"nobody can be asked here whether the plan of run {run.id} is right",
            field="--plan-hash",
            hint=f"`{wording.confirm_command(run)}` confirms the present plan; --yes confirms any",
        )
    output.line(f"Run {run.id}, workspace {run.workspace}: {wording.counts(run)}")
    output.line(f"Plan hash: {run.plan_hash}")
    return run.plan_hash if asking.approve(wording.question(run)) else None


@click.command(cls=Command, example="iacq discard 42")
@options.run_argument
@pass_app
def discard(app: App, run_id: int) -> None:
    """Discard an unconfirmed plan."""
    run = app.client.discard(run_id)
    _show(app, run, f"Run {run.id} is {run.status}")


@click.command(cls=Command, example="iacq cancel 42 --force")
@options.run_argument
@click.option("--force", is_flag=True, help="Also while terraform applies: it is interrupted once, the state is saved.")
@pass_app
def cancel(app: App, run_id: int, force: bool) -> None:
    """Cancel a run: at once while it waits; a running one gets one SIGINT.

    terraform waits for what its providers do, but a script that it runs (local-exec) is stopped, and its
    resource is tainted.
    """
    run = app.client.cancel(run_id, force=force)
    if run.status is Status.CANCELLED:
        _show(app, run, f"Run {run.id} is {run.status}")
        return
    _show(app, run, f"Run {run.id} is asked to stop; it is still {run.status}. Follow: iacq logs {run.id} -f")
    app.warn_if_nobody_dispatches()


@click.command(cls=Command, example="iacq run resolve 42 --applied --comment 'all three subnets exist'")
@options.run_argument
@click.option("--applied/--failed", "applied", default=None, help="How the apply ended: one of the two.")
@click.option("--comment", required=True, metavar="TEXT", help="How you know.")
@click.option("--force", is_flag=True, help="Although its terraform may still be alive: two applies could meet.")
@pass_app
def resolve(app: App, run_id: int, applied: bool | None, comment: str, force: bool) -> None:
    """Say how an interrupted apply ended, so that its workspace goes on."""
    if applied is None:
        raise InvalidInput("say how the apply ended", field="--applied", hint="give --applied or --failed")
    run = app.client.resolve(run_id, applied=applied, comment=comment, force=force)
    _show(app, run, f"Run {run.id} is {run.status}")


def _show(app: App, run: Run, text: str) -> None:
    if app.as_json:
        output.emit(app.client.to_json(run))
    else:
        output.line(text[0].upper() + text[1:])
