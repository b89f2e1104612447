"""`iacq demo`: a packaged example through the whole system, and the timeline of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import click

from iacq.cli import following, output, timeline, wording
from iacq.cli.app import App
from iacq.cli.command import Command, pass_app
from iacq.cli.up import Said
from iacq.domain.run import Phase, Run, Status
from iacq.domain.workspace import DEFAULT_POOL, Workspace
from iacq.errors import Conflict, NotFound

_NAME = "demo"


@click.command(cls=Command, example="iacq demo")
@pass_app
def demo(app: App) -> int:
    """Start the system, plan a packaged example, confirm it, apply it in the same slot, and stop.

    It needs no cloud and no provider. Where `iacq up` runs already, that is used. A second demo finds nothing
    to change.
    """
    with _system(app):
        _ensure_workspace(app)
        run = _through(app)
        if app.as_json:
            output.emit(app.client.to_json(run))
        else:
            for text in timeline.lines(run):
                output.line(text)
        return following.report_end(app, run, Phase.APPLY if run.confirmed_at else Phase.PLAN)


@contextlib.contextmanager
def _system(app: App) -> Iterator[None]:
    from iacq.bootstrap import whole_system

    with contextlib.ExitStack() as stack:
        output.note("Starting broker, database, control worker, beat, and one pod with 3 slots ...")
        try:
            stack.enter_context(whole_system.running(app.settings, pods=1, say=Said()))
        except Conflict as error:
            if error.code != "already_up":
                raise
            output.note("iacq is up already: the demo uses it.")
        yield
        output.note("Stopping ...")


def _ensure_workspace(app: App) -> None:
    directory = app.settings.home / _NAME
    copy_example(directory)
    try:
        app.client.workspace(_NAME)
    except NotFound:
        made = Workspace(name=_NAME, pool=DEFAULT_POOL, path=str(directory), auto_apply=False)
        app.client.create_workspace(made)


def copy_example(directory: Path) -> None:
    """Copy the packaged configuration; files that are there stay as they are."""
    directory.mkdir(parents=True, exist_ok=True)
    for item in (resources.files("iacq") / "example").iterdir():
        target = directory / item.name
        if item.is_file() and not target.exists():
            target.write_bytes(item.read_bytes())


def _through(app: App) -> Run:
    """Plan, show, confirm, apply; returns the run at its end."""
    # A demo that was interrupted may have left a plan that nobody will confirm.
    run = app.client.enqueue(_NAME, "plan_and_apply", message="iacq demo", auto_apply=False, supersede=True)
    output.note(f"{wording.title(run).capitalize()} was enqueued.")
    run = following.follow(app, run, Phase.PLAN)
    if run.status is not Status.APPLY_PENDING:
        return run
    output.note(f"\nConfirming the plan with the hash {(run.plan_hash or '')[:12]}: {wording.counts(run)}")
    app.client.warm()
    run = app.client.confirm(run.id, plan_hash=run.plan_hash or "", comment="iacq demo")
    return following.follow(app, run, Phase.APPLY)
