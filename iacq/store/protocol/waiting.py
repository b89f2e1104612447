"""Steps while no process works on the run."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from iacq.domain import transitions
from iacq.domain.queueing import Candidate
from iacq.domain.run import Run, Status, WarmupStatus
from iacq.domain.slot import Closed, Slot, SlotStatus
from iacq.domain.transitions import Cause
from iacq.messages import Doorbell
from iacq.store import freezes, outbox, runs, slots
from iacq.store.schema import workspaces
from iacq.store.session import Raced, Transaction
from iacq.store.statement import LATER, NOW, PAST, Keep


def dispatch(tx: Transaction, run: Run | Candidate, slot: Slot) -> Doorbell:
    """pending → plan_queued, confirmed → apply_queued, in this free slot; a confirmed run's own slot is released."""
    if run.run_type.changes_state:
        _require_unlocked(tx, run.workspace)
    queued = _queue(tx, run, slot.queue, Cause.DISPATCHED)
    if run.status is Status.CONFIRMED and slots.release(tx, run.id):
        runs.lose_place(tx, run.id)
    slots.take(tx, slot, run)
    freezes.require_open(tx, run.pool)
    return outbox.put(tx, queued, transitions.PHASE_OF[queued.status], slot.queue)


def dispatch_to_own_slot(tx: Transaction, run: Run | Candidate) -> Doorbell:
    """confirmed → apply_queued in the slot that is reserved for the run. Raises Raced if it has none that is open."""
    _require_unlocked(tx, run.workspace)
    held = slots.held_by(tx, run.id)
    if held is None:
        raise Raced
    queued = _queue(tx, run, held.queue, Cause.DISPATCHED)
    taken = slots.take_own(tx, run)
    if taken is None or taken.queue != held.queue:  # meanwhile it may have lost that one, and be prepared in another
        raise Raced
    freezes.require_open(tx, run.pool)
    return outbox.put(tx, queued, transitions.PHASE_OF[queued.status], held.queue)


def _queue(tx: Transaction, run: Run | Candidate, queue: str, cause: Cause) -> Run:
    target = Status.PLAN_QUEUED if run.status is Status.PENDING else Status.APPLY_QUEUED
    return runs.transition(
        tx,
        run.id,
        cause,
        run.status,
        target,
        {"attempt": run.attempt, "pool": run.pool},  # its workspace may have moved to another one meanwhile
        attempt=run.attempt + 1,
        queue=queue,
    )


_SHARE_WORKSPACE = (
    sa.select(workspaces.c.locked_ms).where(workspaces.c.name == sa.bindparam("workspace")).with_for_update(read=True)
)


def _require_unlocked(tx: Transaction, workspace: str) -> None:
    """Take the workspace's row in share mode: a lock by a person waits for us, or we see it. Raises Raced if locked."""
    found = tx.execute(_SHARE_WORKSPACE, {"workspace": workspace}).first()
    if found is None or found.locked_ms is not None:
        raise Raced


def confirm(
    tx: Transaction, run: Run, *, by: str, comment: str | None, cause: Cause = Cause.CONFIRMED
) -> tuple[Run, Doorbell | None]:
    """apply_pending → confirmed for the plan that was read; straight on to its own slot where that is possible.

    In a locked workspace or a frozen pool it is stored, and waits.
    The plan hash is the one of `run`: the caller compared it with what the person saw.
    """
    unlocked = _is_unlocked(tx, run.workspace)
    confirmed = runs.transition(
        tx,
        run.id,
        cause,
        Status.APPLY_PENDING,
        Status.CONFIRMED,
        {"plan_hash": run.plan_hash, "expires_ms": LATER},
        by=by,
        details=comment,
        confirmed_ms=NOW,
        confirmed_by=by,
        confirmed_hash=run.plan_hash,
        confirmed_comment=comment,
        queued_ms=NOW,
        tries=0,
    )
    own = slots.take_own(tx, confirmed) if unlocked else None
    if own is None:
        return confirmed, None
    if not freezes.is_open(tx, run.pool):
        slots.reserve(tx, run.id)
        return confirmed, None
    queued = _queue(tx, confirmed, own.queue, Cause.DISPATCHED)
    return queued, outbox.put(tx, queued, transitions.PHASE_OF[queued.status], own.queue)


def _is_unlocked(tx: Transaction, workspace: str) -> bool:
    try:
        _require_unlocked(tx, workspace)
    except Raced:
        return False
    return True


def discard(tx: Transaction, run: Run, *, by: str, cause: Cause = Cause.DISCARDED) -> Run:
    """apply_pending → discarded, by a person or by a newer run."""
    discarded = runs.transition(
        tx, run.id, cause, Status.APPLY_PENDING, Status.DISCARDED, {"plan_hash": run.plan_hash}, by=by
    )
    slots.release(tx, run.id)
    return discarded


def expire(tx: Transaction, run: Run) -> Run:
    """apply_pending past its expiry → discarded."""
    expired = runs.transition(tx, run.id, Cause.EXPIRED, Status.APPLY_PENDING, Status.DISCARDED, {"expires_ms": PAST})
    slots.release(tx, run.id)
    return expired


def cancel(tx: Transaction, run: Run, *, by: str) -> Run:
    """A waiting run → cancelled, at once."""
    cancelled = runs.transition(
        tx,
        run.id,
        Cause.CANCELLED,
        run.status,
        Status.CANCELLED,
        {"attempt": run.attempt},
        by=by,
        cancel_requested_ms=NOW,
        cancel_requested_by=by,
    )
    outbox.remove(tx, run.id)
    slots.release(tx, run.id)
    return cancelled


def request_cancel(tx: Transaction, run: Run, *, by: str, force: bool) -> Run:
    """planning/applying: ask the owner to end it. Without force only before terraform may have started to apply."""
    seen: dict[str, Any] = {"status": run.status, "fence": run.fence}
    if not force and run.status is Status.APPLYING:
        seen["effects_at_ms"] = None
    return runs.change(tx, run.id, seen, cancel_requested_ms=Keep(NOW), cancel_requested_by=Keep(by))


def take_back(tx: Transaction, run: Run, *, close_slot: Closed | None = None, cause: Cause = Cause.SLOT_LOST) -> Run:
    """plan_queued → pending, apply_queued → confirmed: its slot is dead, closed or not answering. Not a try.

    cause: `frozen` where its pool froze instead.
    close_slot: also offer the slot to nobody until it answers. What lies in its queue is inert: the attempt has passed.
    """
    target = Status.PENDING if run.status is Status.PLAN_QUEUED else Status.CONFIRMED
    back = runs.transition(
        tx,
        run.id,
        cause,
        run.status,
        target,
        {"attempt": run.attempt},
        details=run.queue,
        attempt=run.attempt + 1,
        queue=None,
    )
    outbox.remove(tx, run.id)
    held = slots.held_by(tx, run.id)
    if held is not None:
        slots.release(tx, run.id)
        if close_slot is not None:
            slots.close(tx, held.pod_name, held.slot_id, held.agent_id, close_slot)
    runs.lose_place(tx, run.id)
    return back


def request_stop(tx: Transaction, run: Run, *, begun: bool) -> Run:
    """planning/applying in a pool that froze: ask the owner to stop. begun: also once terraform may apply."""
    seen: dict[str, Any] = {"status": run.status, "fence": run.fence, "freeze_requested_ms": None}
    if not begun:
        seen["effects_at_ms"] = None
    return runs.change(tx, run.id, seen, freeze_requested_ms=NOW)


def withdraw_stop(tx: Transaction, run: Run) -> Run:
    """planning/applying, asked to stop by a freeze that is over: go on, if its owner has not heard of it yet."""
    seen = {"status": run.status, "fence": run.fence, "freeze_requested_ms": run.freeze_requested_at}
    return runs.change(tx, run.id, seen, freeze_requested_ms=None)


def give_up_reservation(tx: Transaction, run: Run, slot: Slot, *, final: bool = False) -> Run:
    """Free the slot that is kept for a waiting run; its apply will start from what is stored.

    final: nor is it prepared in another slot before.
    """
    changed = runs.change(tx, run.id, {"status": run.status, "attempt": run.attempt})
    if changed.status not in (Status.APPLY_PENDING, Status.CONFIRMED) or slot.status is not SlotStatus.RESERVED:
        raise Raced
    lost = {**runs.LOST_PLACE, "warmup_status": WarmupStatus.EXPIRED} if final else runs.LOST_PLACE
    runs.change(tx, run.id, {}, **lost)
    if not slots.release_at(tx, slot):
        raise Raced
    return changed
