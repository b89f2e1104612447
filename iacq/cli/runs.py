"""`iacq plan`, `apply`, `destroy`, `drift` and `run retry`: enqueue a run and follow it as terraform would show it."""

from __future__ import annotations

from typing import Any

import click

from iacq.cli import asking, following, options, output, wording
from iacq.cli.app import App
from iacq.cli.command import Command, pass_app
from iacq.domain.run import Phase, Run, RunType, Status

_detailed = click.option(
    "--detailed-exitcode", is_flag=True, help="Exit code 0: no changes, 1: any error, 2: there are changes."
)
_auto_approve = click.option(
    "--auto-approve/--no-auto-approve",
    default=None,
    help="Apply without asking, or ask; default: as the workspace says.",
)


@click.command(cls=Command, example="iacq plan network --var size=3")
@options.workspace_argument
@options.run_options
@_detailed
@click.option("--refresh-only", is_flag=True, help="The same as `iacq drift`.")
@pass_app
def plan(app: App, /, name: str, detailed_exitcode: bool, refresh_only: bool, detach: bool, **asked: Any) -> int:
    """Plan a workspace and show what would change. Nothing can be applied from it."""
    kind = RunType.DRIFT if refresh_only else RunType.PLAN
    return _look(app, name, kind, asked, detach=detach, detailed=detailed_exitcode)


@click.command(cls=Command, example="iacq drift network --detailed-exitcode")
@options.workspace_argument
@options.run_options
@_detailed
@pass_app
def drift(app: App, /, name: str, detailed_exitcode: bool, detach: bool, **asked: Any) -> int:
    """Look for changes that were made outside of terraform."""
    return _look(app, name, RunType.DRIFT, asked, detach=detach, detailed=detailed_exitcode)


@click.command(cls=Command, example="iacq apply network --message 'three subnets'")
@options.workspace_argument
@options.run_options
@options.supersede_option
@_auto_approve
@pass_app
def apply(app: App, /, name: str, auto_approve: bool | None, detach: bool, **asked: Any) -> int:
    """Plan a workspace, ask, and apply that very plan.

    Without a terminal, unless it is applied without asking, the plan is left for `iacq confirm`.
    """
    return _change(app, name, RunType.PLAN_AND_APPLY, asked, detach=detach, auto_approve=auto_approve)


@click.command(cls=Command, example="iacq destroy network")
@options.workspace_argument
@options.run_options
@options.supersede_option
@_auto_approve
@pass_app
def destroy(app: App, /, name: str, auto_approve: bool | None, detach: bool, **asked: Any) -> int:
    """Plan the removal of everything in a workspace, ask, and do it.

    Without a terminal, unless it is applied without asking, the plan is left for `iacq confirm`.
    """
    return _change(app, name, RunType.DESTROY, asked, detach=detach, auto_approve=auto_approve)


@click.command(cls=Command, example="iacq run retry 42 --detach")
@options.run_argument
@options.state_options
@options.detach_option
@pass_app
def retry(app: App, run_id: int, import_state: bool, ignore_state: bool, detach: bool) -> int:
    """Ask again for what an ended run asked for: the same type, variables and options; the source as it is now.

    Nothing is applied again: a new plan is made, and waits for a confirmation.
    """
    run = app.client.retry(run_id, import_state=import_state, ignore_state=ignore_state)
    _say_enqueued(app, run)
    if run.run_type.changes_state:
        return _follow_change(app, run, detach=detach)
    return _follow_look(app, run, detach=detach, detailed=False)


def _enqueue(app: App, name: str, kind: RunType, asked: dict[str, Any], **more: Any) -> Run:
    run = app.client.enqueue(name, kind, **options.enqueue_arguments(asked), **more)
    _say_enqueued(app, run)
    return run


def _say_enqueued(app: App, run: Run) -> None:
    origin = f", a retry of run {run.retry_of}" if run.retry_of is not None else ""
    output.note(f"{wording.title(run).capitalize()} is {run.status}{origin}")
    app.warn_if_nobody_dispatches()


def _detached(app: App, run: Run) -> int:
    if app.as_json:
        output.emit(app.client.to_json(run))
    else:
        output.line(str(run.id))
    return 0


def _look(app: App, name: str, kind: RunType, asked: dict[str, Any], *, detach: bool, detailed: bool) -> int:
    return _follow_look(app, _enqueue(app, name, kind, asked), detach=detach, detailed=detailed)


def _follow_look(app: App, run: Run, *, detach: bool, detailed: bool) -> int:
    if detach:
        return _detached(app, run)
    run = following.follow(app, run, Phase.PLAN)
    code = _end(app, run, Phase.PLAN)
    if detailed and code == 0 and run.status is Status.SUCCESS:
        return 2 if wording.has_changes(app.client.plan_json(run.id)) else 0
    return code


def _change(
    app: App, name: str, kind: RunType, asked: dict[str, Any], *, detach: bool, auto_approve: bool | None
) -> int:
    run = _enqueue(app, name, kind, asked, auto_apply=auto_approve)
    return _follow_change(app, run, detach=detach)


def _follow_change(app: App, run: Run, *, detach: bool) -> int:
    if detach:
        return _detached(app, run)
    run = following.follow(app, run, Phase.PLAN)
    if run.status is Status.APPLY_PENDING and run.auto_apply:
        run = following.leave_apply_pending(app, run)
    if run.status is Status.APPLY_PENDING:
        approved = _ask(app, run)
        if approved is None:
            return 0
        if not approved:
            return _end(app, app.client.get(run.id), Phase.PLAN)
        run = app.client.confirm(run.id, plan_hash=run.plan_hash or "")
        app.warn_if_nobody_dispatches()
    if run.confirmed_at is None:
        return _end(app, run, Phase.PLAN)
    return _end(app, following.follow(app, run, Phase.APPLY), Phase.APPLY)


def _ask(app: App, run: Run) -> bool | None:
    """Ask whether to apply; a "no" discards. None: nobody can be asked, and the plan is left as it is."""
    if not app.may_ask:
        _leave(app, run)
        return None
    with following.detaching(app, run):
        app.client.warm()  # while the question is read: the confirmation then takes milliseconds
        output.line(f"\nPlan: {wording.counts(run)}.  Plan hash: {(run.plan_hash or '')[:12]}")
        answer = asking.approve(wording.question(run))
        if answer is None:
            raise KeyboardInterrupt
    if not answer:
        app.client.discard(run.id)
    return answer


def _leave(app: App, run: Run) -> None:
    if app.as_json:
        output.emit(app.client.to_json(run))
        return
    output.line(f"Run {run.id} waits for a confirmation ({wording.counts(run)}):")
    output.line(f"  {wording.confirm_command(run)}")


def _end(app: App, run: Run, phase: Phase) -> int:
    tier = wording.start_tier(run)
    if app.as_json:
        output.emit(app.client.to_json(run))
    elif tier and run.status is Status.APPLIED:
        output.line(tier[0].upper() + tier[1:])
    return following.report_end(app, run, phase)
