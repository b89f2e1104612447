"""Steps of a warm-up: a run that lost its slot is prepared in another one, ahead of its apply.

The run stays what it is, `apply_pending` or `confirmed`; its slot is reserved for it, so that a confirmation takes it
as it takes the slot of the plan. Confirmed while it is `warming`, it is queued behind the warm-up in that slot.
The claim of a warm-up adds one to the fence of the run, like every claim: the directory that is prepared has its name
from it, and whoever was fenced off writes neither log nor result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from iacq.domain import versions, warmup
from iacq.domain.run import Run, Status, WarmupStatus
from iacq.domain.slot import Closed, Place, Slot, SlotStatus
from iacq.domain.warmup import Step
from iacq.messages import WarmupBell, slot_queue
from iacq.store import freezes, readable, runs, slots
from iacq.store.protocol.owning import READABLE, Hold
from iacq.store.schema import runs as table
from iacq.store.session import Raced, Transaction
from iacq.store.startable import is_unended
from iacq.store.statement import PAST, TIMESTAMP, After, Plus, TimestampAfter

_PREPARABLE = tuple(sorted(warmup.PREPARABLE))
_SERVED = tuple(sorted(warmup.SERVED))
_HELD = (SlotStatus.RESERVED, SlotStatus.RUNNING)
_UNTIMED: dict[str, Any] = {"warmup_fence": None, "warmup_until_ms": None}
_NOWHERE = {"warmup_agent_id": None, "warmup_pod_name": None, "warmup_slot_id": None, **_UNTIMED}
_MOST = 200
"""Runs that are looked at in one round."""


def begin(tx: Transaction, run: Run, slot: Slot, *, claim_within_ms: int) -> WarmupBell:
    """none/failed → warming, in this free slot. The run has no slot, and nobody began another warm-up meanwhile."""
    begun = _move(
        tx,
        run.id,
        Step.BEGIN,
        {"status": _PREPARABLE, "warmup_retry_count": run.warmup_retries, "warmup_agent_id": None},
        warmup_retry_count=Plus(1),
        warmup_agent_id=slot.agent_id,
        warmup_pod_name=slot.pod_name,
        warmup_slot_id=slot.slot_id,
        warmup_at=TIMESTAMP,
        warmup_fence=None,
        warmup_until_ms=After(claim_within_ms),
    )
    slots.reserve_idle(tx, slot, begun)
    freezes.require_open(tx, run.pool)
    return bell_of(begun)


def claim(tx: Transaction, run_id: int, retry: int, place: Place, *, within_ms: int) -> Run:
    """The slot takes the warm-up whose bell was rung. A message of another one, or a second one, is inert."""
    seen = runs.get(tx, run_id)
    if seen is None:
        raise Raced
    fence = seen.fence + 1
    claimed = _move(
        tx,
        run_id,
        Step.CLAIM,
        {
            "status": _SERVED,
            "fence": seen.fence,
            "warmup_retry_count": retry,
            "warmup_fence": None,
            "warmup_agent_id": place.agent_id,
            "warmup_pod_name": place.pod_name,
            "warmup_slot_id": place.slot_id,
            "needs": READABLE,
        },
        fence=fence,
        warmup_fence=fence,
        warmup_until_ms=After(within_ms),
        freeze_requested_ms=None,
    )
    slots.confirm_hold(tx, run_id, place, status=_HELD)
    freezes.require_open(tx, claimed.pool)
    return claimed


def renew(tx: Transaction, hold: Hold) -> Run:
    """Ask whether the warm-up is still wanted. Raises Raced if it is not: the run ended, or lost this slot."""
    return runs.change(tx, hold.run_id, _claimed(hold))


def finish(tx: Transaction, hold: Hold, place: Place, *, ttl_ms: int) -> Run:
    """warming → ready. From now on its slot has the usual time to claim an apply that waits behind it."""
    ready = _move(
        tx,
        hold.run_id,
        Step.READY,
        _claimed(hold),
        warmup_at=TIMESTAMP,
        warmup_expires_at=TimestampAfter(ttl_ms),
        warmup_until_ms=After(ttl_ms),
    )
    slots.confirm_hold(tx, ready.id, place, status=_HELD)
    return ready


def fail(tx: Transaction, hold: Hold, place: Place) -> Run:
    """warming → failed: the slot is free. An apply that waits behind the warm-up keeps it, and starts without."""
    failed = _move(tx, hold.run_id, Step.FAIL, _claimed(hold), **_NOWHERE)
    slots.confirm_hold(tx, failed.id, place, status=_HELD)
    slots.release(tx, failed.id, status=SlotStatus.RESERVED)
    return failed


def _claimed(hold: Hold) -> dict[str, Any]:
    return {"status": _SERVED, "warmup_status": WarmupStatus.WARMING, "warmup_fence": hold.fence}


def give_up(tx: Transaction, run: Run, *, close_slot: Closed) -> Run:
    """warming → failed: its slot did not claim or end it in time, and is offered to nobody until it answers.

    Of an apply that is queued behind it, `waiting.take_back` does the same.
    """
    seen = {"status": _PREPARABLE, "warmup_retry_count": run.warmup_retries, "warmup_fence": run.warmup_fence}
    failed = _move(tx, run.id, Step.FAIL, {**seen, "warmup_until_ms": PAST}, **_NOWHERE)
    held = slots.held_by(tx, run.id)
    if held is not None:
        slots.release(tx, run.id)
        slots.close(tx, held.pod_name, held.slot_id, held.agent_id, close_slot)
    return failed


def expire(tx: Transaction, run: Run) -> Run:
    """ready → expired: nobody confirmed in time. The slot is free, and the apply will restore the snapshot itself."""
    seen = {"status": _PREPARABLE, "warmup_fence": run.warmup_fence, "warmup_until_ms": PAST}
    expired = _move(tx, run.id, Step.EXPIRE, seen, **_NOWHERE)
    slots.release(tx, run.id, status=SlotStatus.RESERVED)
    return expired


def reset(tx: Transaction, pool: str) -> int:
    """Forget the warm-ups of a pool's runs that are prepared nowhere, as if none had been begun; returns how many."""
    changed = tx.execute(
        table.update()
        .where(
            _OURS,
            table.c.pool == pool,
            table.c.status.in_(_SERVED),
            _NOWHERE_PREPARED,
            sa.or_(table.c.warmup_status != WarmupStatus.NONE, table.c.warmup_retry_count > 0),
        )
        .values(**runs.LOST_PLACE, warmup_retry_count=0)
    )
    return changed.rowcount


def _move(tx: Transaction, run_id: int, step: Step, seen: Mapping[str, Any], **becomes: Any) -> Run:
    """Take a warm-up from one status to the next, compare-and-set, as the table of `domain.warmup` has it."""
    sources, target = warmup.TABLE[step]
    return runs.change(tx, run_id, {**seen, "warmup_status": tuple(sorted(sources))}, warmup_status=target, **becomes)


def bell_of(run: Run) -> WarmupBell:
    """Return the bell of a warm-up that is under way."""
    if run.prepared_pod_name is None or run.prepared_slot_id is None:
        raise ValueError(f"run {run.id} is not being prepared anywhere")
    queue = slot_queue(run.prepared_pod_name, run.prepared_slot_id)
    return WarmupBell(run_id=run.id, retry=run.warmup_retries, queue=queue, workspace=run.workspace)


_NOWHERE_PREPARED = sa.func.coalesce(table.c.warmup_agent_id, "") == ""
"""Not `is null`: SQLite would take an index in which every ended run is null, too."""
_OURS = sa.text(is_unended(f"{table.name}."))  # in words, or SQLite does not see that an index has all of these
_UNPREPARED = sa.and_(
    _OURS,
    table.c.status.in_(_PREPARABLE),
    table.c.warmup_status.in_(sorted(warmup.TABLE[Step.BEGIN][0])),
    _NOWHERE_PREPARED,
    table.c.needs_protocol <= versions.PROTOCOL,
    table.c.pool.not_in(freezes.FROZEN_POOLS),
)
_UNCLAIMED = sa.and_(
    _OURS,
    table.c.status.in_(_SERVED),
    table.c.warmup_status == WarmupStatus.WARMING,
    table.c.warmup_fence.is_(None),
    table.c.warmup_agent_id.is_not(None),
)
_TIMED = sa.and_(
    _OURS,
    sa.or_(
        sa.and_(table.c.status.in_(_SERVED), table.c.warmup_status == WarmupStatus.WARMING),
        sa.and_(table.c.status.in_(_PREPARABLE), table.c.warmup_status == WarmupStatus.READY),
    ),
)


def unprepared(tx: Transaction, *, retries: int) -> list[Run]:
    """Return the runs that lost their slot and may be prepared in another one: by priority, then oldest.

    retries: warm-ups that one run may have.
    """
    may = sa.and_(_UNPREPARED, table.c.warmup_retry_count < retries)
    return _listed(tx, may, table.c.priority.desc(), table.c.id)


def count_unprepared(tx: Transaction, pool: str, *, retries: int) -> int:
    """Count the unconfirmed runs of a pool that `unprepared` returns: a slot for each is wanted."""
    wanted = sa.select(sa.func.count()).select_from(table)
    waiting = sa.and_(_UNPREPARED, table.c.status == Status.APPLY_PENDING, table.c.pool == pool)
    return int(tx.execute(wanted.where(waiting, table.c.warmup_retry_count < retries)).scalar_one())


def unclaimed(tx: Transaction) -> list[Run]:
    """Return the runs with a warm-up that no slot has taken yet."""
    return _listed(tx, _UNCLAIMED, table.c.id)


def overdue(tx: Transaction) -> list[Run]:
    """Return the runs whose warm-up has lasted too long, or was ready for too long."""
    return _listed(tx, sa.and_(_TIMED, table.c.warmup_until_ms <= tx.now), table.c.warmup_until_ms)


def _listed(tx: Transaction, condition: sa.ColumnElement[bool], *order: sa.ColumnElement[Any]) -> list[Run]:
    wanted = sa.select(*runs.COLUMNS).where(condition).order_by(*order).limit(_MOST)
    return readable.many(tx, wanted, (table.c.id,), runs.to_run)
