"""What becomes of a run whose worker came to nothing."""

from __future__ import annotations

from iacq.domain import transitions
from iacq.domain.run import Phase, Run, Status


def decide_way_back(run: Run, *, counted: bool = True) -> Status:
    """Say where a planning run, or an applying one without effects, goes when its claim came to nothing.

    counted: False where iacq itself took the run away (a stopping pod, a freeze): the try is given back first.
    A requested cancel is carried out; a run that used up its tries fails, so that nothing can loop for ever.
    """
    phase = transitions.PHASE_OF[run.status]
    if run.cancel_requested_at is not None:
        return Status.CANCELLED
    if tries_after(run, counted=counted) >= transitions.MAX_TRIES[phase]:
        return Status.FAILED
    return Status.PENDING if phase is Phase.PLAN else Status.CONFIRMED


def tries_after(run: Run, *, counted: bool) -> int:
    """Return the claims that count once the present one has come to nothing."""
    return run.tries if counted else run.tries - 1


def decide_lease_lost(run: Run) -> Status:
    """Say where a run goes whose owner stopped renewing. With effects nobody knows what terraform did."""
    if run.effects_at is not None:
        return Status.APPLY_INTERRUPTED
    return decide_way_back(run)


def decide_after_restore(run: Run) -> Status:
    """Say what an unended run becomes when the database is a backup: its row tells what was, not what happened since.

    A confirmed plan may have been applied, and one that waited for its confirmation may have been confirmed and
    applied: neither may be applied again. What was not planned yet is planned anew, from what is real now.
    """
    if run.status is Status.APPLY_PENDING:
        return Status.DISCARDED
    if transitions.PHASE_OF[run.status] is Phase.APPLY:
        return Status.APPLY_INTERRUPTED
    if run.status is Status.PLANNING and run.cancel_requested_at is not None:
        return Status.CANCELLED
    return Status.PENDING


def decide_apply_end(returncode: int, *, cancel_requested: bool) -> Status:
    """Say how an apply ended: its true outcome, whatever was asked of it meanwhile."""
    if returncode == 0:
        return Status.APPLIED
    return Status.CANCELLED if cancel_requested else Status.FAILED
