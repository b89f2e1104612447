"""Steps after the process that held the run came to nothing."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from iacq.domain import recovery
from iacq.domain.run import Phase, Run, Status
from iacq.domain.slot import Place
from iacq.domain.transitions import Cause
from iacq.errors import Conflict
from iacq.store import runs, slots, states
from iacq.store.protocol import owning
from iacq.store.schema import runs as table
from iacq.store.schema import slots as slot_table
from iacq.store.session import Transaction, now_ms
from iacq.store.startable import is_unended
from iacq.store.statement import After, Condition

_OVER = Condition(table.c.lease_until < now_ms())

FORCED = "forced: "
"""Begins the comment of a resolve while the end of its terraform was not proven."""


def lose_lease(tx: Transaction, seen: Run) -> Run:
    """planning/applying whose lease is still the one that was seen expired, twice: take it from its owner.

    With effects it becomes apply_interrupted and its slot stays held: its terraform may live. When its lease ended
    stays with it, as evidence.
    """
    run = runs.change(
        tx,
        seen.id,
        {"status": seen.status, "fence": seen.fence, "lease_until": seen.lease_until, "lease": _OVER},
    )
    if recovery.decide_lease_lost(run) is not Status.APPLY_INTERRUPTED:
        return owning.way_back(tx, run, Cause.LEASE_LOST)
    return _interrupt(tx, run, Cause.LEASE_LOST)


def _interrupt(tx: Transaction, run: Run, cause: Cause) -> Run:
    return runs.transition(
        tx,
        run.id,
        cause,
        run.status,
        Status.APPLY_INTERRUPTED,
        {"fence": run.fence},
        details=run.owner,
        fence=run.fence + 1,
        owner=None,
        stage=None,
    )


def lose_pod(tx: Transaction, seen: Run) -> Run:
    """planning/applying in a pod that is proven gone: take it from its owner at once, whose lease need not end.

    With effects it becomes apply_interrupted, and its slot is free: its terraform cannot be alive.
    """
    run = runs.change(tx, seen.id, {"status": seen.status, "fence": seen.fence, "pod_name": seen.pod_name})
    if recovery.decide_lease_lost(run) is not Status.APPLY_INTERRUPTED:
        return owning.way_back(tx, run, Cause.POD_GONE)
    interrupted = _interrupt(tx, run, Cause.POD_GONE)
    slots.release(tx, run.id)
    return interrupted


def owner_gone(tx: Transaction, run_id: int, fence: int, place: Place) -> Run:
    """planning, or applying without effects → back at once: a process in the same place replaced the dead owner.

    Of a plan nothing is alive any more (it was killed); an apply had not passed the point of no return, and cannot any
    more, since its fence has passed.
    """
    run = runs.change(
        tx,
        run_id,
        {"status": (Status.PLANNING, Status.APPLYING), "fence": fence, "effects_at_ms": None},
    )
    slots.confirm_hold(tx, run_id, place)
    return owning.way_back(tx, run, Cause.PLAN_KILLED if run.status is Status.PLANNING else Cause.NOT_STARTED)


def adopt(tx: Transaction, run_id: int, effects_fence: int, place: Place, *, lease_ms: int) -> Run:
    """applying or apply_interrupted with these effects → applying, held by a new process in the same place.

    Not by one of an older version, that could not read what is stored for the run.
    """
    run = runs.change(
        tx,
        run_id,
        {
            "status": (Status.APPLYING, Status.APPLY_INTERRUPTED),
            "effects_fence": effects_fence,
            "needs": owning.READABLE,
        },
    )
    slots.confirm_hold(tx, run_id, place)
    return runs.transition(
        tx,
        run_id,
        Cause.ADOPTED,
        run.status,
        Status.APPLYING,
        {"effects_fence": effects_fence},
        details=place.owner,
        owner=place.owner,
        fence=run.fence + 1,
        lease_until=After(lease_ms),
        queue=place.queue,
        stage="apply",
        agent_id=place.agent_id,
    )


def late_report(tx: Transaction, run_id: int, effects_fence: int, target: Status, **values: Any) -> Run:
    """apply_interrupted with these effects → its true end; the process that knows it need not own the run."""
    reported = runs.transition(
        tx,
        run_id,
        Cause.LATE_REPORT,
        Status.APPLY_INTERRUPTED,
        target,
        {"effects_fence": effects_fence},
        **values,
    )
    slots.release(tx, run_id)
    return reported


def never_started(tx: Transaction, run_id: int, effects_fence: int) -> Run:
    """apply_interrupted with these effects → failed, on the word of a keeper that terraform was never started."""
    failed = runs.transition(
        tx,
        run_id,
        Cause.NOT_STARTED,
        Status.APPLY_INTERRUPTED,
        Status.FAILED,
        {"effects_fence": effects_fence},
        error_code="never_started",
        error_text="the worker was lost just before terraform was started; nothing was applied",
    )
    slots.release(tx, run_id)
    return failed


def prove_end(tx: Transaction, run_id: int, effects_fence: int) -> Run:
    """apply_interrupted: nothing of this apply is alive in its slot, which is free now; a person may resolve it."""
    run = runs.change(tx, run_id, {"status": Status.APPLY_INTERRUPTED, "effects_fence": effects_fence})
    slots.release(tx, run_id)
    return run


def resolve(tx: Transaction, run: Run, target: Status, *, by: str, comment: str, force: bool) -> Run:
    """apply_interrupted → applied or failed, as a person says. The state that it wrote last becomes a version.

    Raises Conflict while its slot is held, since its terraform may still be alive; force says that it is not.
    """
    runs.change(tx, run.id, {"status": Status.APPLY_INTERRUPTED, "fence": run.fence})
    row = tx.execute(sa.select(slot_table).where(slot_table.c.run_id == run.id).with_for_update()).first()
    if row is not None and not force:
        raise Conflict(
            f"run {run.id}: its terraform may still be alive in slot {row.slot_id} of pod {row.pod_name}",
            hint="wait until the pod is back or gone; --force resolves it all the same: if that terraform still runs, "
            "a next apply of the workspace may meet it",
            code="end_not_proven",
        )
    values = {} if target is Status.APPLIED else {"error_code": "interrupted", "error_text": comment}
    resolved = runs.transition(
        tx,
        run.id,
        Cause.RESOLVED,
        Status.APPLY_INTERRUPTED,
        target,
        {"fence": run.fence},
        by=by,
        details=f"{FORCED}{comment}" if force and row is not None else comment,
        **values,
    )
    slots.release(tx, run.id)
    states.keep_working(tx, run.workspace, run.id)
    return resolved


def expired_leases(tx: Transaction) -> list[Run]:
    """Return the running runs whose lease has ended, by the database's clock."""
    condition = sa.and_(
        table.c.status.in_([owning.RUNNING_IN[phase] for phase in Phase]),
        sa.text(is_unended()),
        table.c.lease_until < tx.now,
    )
    ids = tx.execute(sa.select(table.c.id).where(condition)).scalars().all()
    return runs.among(tx, ids)
