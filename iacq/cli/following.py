"""Follow a run: say why it waits, stream its log, and let ^C detach from it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from click.exceptions import Exit

from iacq.cli import failing, output, wording
from iacq.cli.app import App
from iacq.cli.progress import Progress
from iacq.domain import transitions
from iacq.domain.run import Phase, Run, Status
from iacq.domain.terraform_events import strip_colours
from iacq.errors import IacqError, WaitTimeout

_LOOK = 0.5
"""Seconds after which a waiting run is asked again why it waits."""
_PATIENCE = 0.3
"""Seconds during which nothing is said about a wait: a free slot takes a run in less."""
_AUTO_APPLY = 10.0
"""Seconds in which an auto-applied plan is confirmed; it happens in the transaction that ends the plan."""


def follow(app: App, run: Run, phase: Phase) -> Run:
    """Stream one phase to its end; returns the run as it is then. ^C ends the command, not the run."""
    with detaching(app, run):
        _wait_for_start(app, run, phase)
        show = _printer(app)
        for line in app.client.logs(run.id, phase=phase, follow=True):
            show(line.text)
        return app.client.get(run.id)


def leave_apply_pending(app: App, run: Run) -> Run:
    """Wait until an auto-applied run has been confirmed; returns it, confirmed or not."""
    with detaching(app, run), contextlib.suppress(WaitTimeout):
        return app.client.wait(run.id, until=set(Status) - {Status.APPLY_PENDING}, timeout=_AUTO_APPLY)
    return app.client.get(run.id)


@contextlib.contextmanager
def detaching(app: App, run: Run) -> Iterator[None]:
    """Make ^C leave a run alone: it says how to go on with it, and ends the command with 130."""
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(IacqError):  # as it is now; what was last seen, if nobody can say
            run = app.client.get(run.id)
        for line in _how_to_go_on(run):
            output.note(line)
        raise Exit(failing.INTERRUPTED) from None


def _how_to_go_on(run: Run) -> Iterator[str]:
    if run.status in transitions.ENDED:
        yield f"\n{wording.title(run).capitalize()} has ended: {run.status}"
    elif run.status is Status.APPLY_PENDING:
        yield f"\nDetached from {wording.title(run)}; its plan waits for you, and later runs of the workspace for that."
        yield f"  confirm: iacq confirm {run.id}"
        yield f"  discard: iacq discard {run.id}"
    else:
        yield f"\nDetached from {wording.title(run)}; it goes on without you."
        yield f"  follow:  iacq logs {run.id} -f"
        if run.run_type.changes_state and transitions.PHASE_OF.get(run.status) is Phase.PLAN and not run.auto_apply:
            yield f"  confirm: iacq confirm {run.id}"
        yield f"  cancel:  iacq cancel {run.id}{' --force' if run.status is Status.APPLYING else ''}"


def _wait_for_start(app: App, run: Run, phase: Phase) -> None:
    """Wait until the phase runs or is over, and say why it does not start."""
    waiting = {status for status, of in transitions.PHASE_OF.items() if of is phase}
    left = set(Status) - waiting | transitions.RUNNING | {Status.APPLY_INTERRUPTED}
    patience = _PATIENCE
    with Progress() as progress:
        while True:
            try:
                run = app.client.wait(run.id, until=left, timeout=patience)
                break
            except WaitTimeout:
                run = app.client.get(run.id)
            why = app.client.waiting(run)
            if why is not None:
                progress.show(f"Run {run.id}: {why.text}")
            patience = _LOOK
        where = wording.place(run.queue)
        if run.status in transitions.RUNNING and where:
            progress.clear()
            output.note(f"Run {run.id}: {phase} in {where}")


def _printer(app: App) -> Callable[[str], None]:
    """With --json, stdout is for the run alone; its log goes to stderr."""
    return output.note if app.as_json else output.line


def report_end(app: App, run: Run, phase: Phase) -> int:
    """Say how a followed run ended, where its log has not said it; returns the exit code."""
    if run.status in wording.SUCCEEDED:
        return 0
    head = f"{wording.title(run)} {_ended_as(run)}"
    said = run.error_text or ""
    if said and not _was_logged(app, run, phase, said):
        head = f"{head}: {said}"
    failing.report(
        failing.Failure(message=head, exit_code=1, code=run.error_code or run.status, hint=_hint(run)),
        as_json=False,
    )
    return 1


def _ended_as(run: Run) -> str:
    if run.status is Status.APPLY_INTERRUPTED:
        return "was interrupted: its worker was lost while terraform applied"
    return "failed" if run.status is Status.FAILED else f"was {run.status}"


def _hint(run: Run) -> str:
    if run.status is Status.APPLY_INTERRUPTED:
        return f"`iacq show {run.id}`, then `iacq run resolve {run.id} --applied|--failed --comment …`"
    return f"`iacq show {run.id}` tells more"


def _was_logged(app: App, run: Run, phase: Phase, said: str) -> bool:
    """Tell whether the log showed an error already: terraform's diagnostic is printed once."""
    first = said.strip().split("\n")[0].removeprefix("Error: ").strip()
    return any(first in strip_colours(line.text) for line in app.client.logs(run.id, phase=phase))
