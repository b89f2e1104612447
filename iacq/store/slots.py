"""Slot rows. A row is the hold: at most one run per slot and one slot per run, by constraint."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from iacq.domain.queueing import Candidate
from iacq.domain.run import Run
from iacq.domain.slot import Closed, Place, Slot, SlotStatus
from iacq.store import freezes, readable, statement
from iacq.store.schema import runs, slots
from iacq.store.session import Raced, Transaction
from iacq.store.statement import NOW

_KEY = (slots.c.pod_name, slots.c.slot_id)


def to_slot(row: sa.Row[Any]) -> Slot:
    """Make a value of a row."""
    return Slot(
        pod_name=row.pod_name,
        slot_id=row.slot_id,
        agent_id=row.agent_id,
        pool=row.pool,
        status=SlotStatus(row.status),
        run_id=row.run_id,
        task_type=row.task_type,
        closed=Closed(row.closed) if row.closed else None,
        protocol=row.protocol,
        updated_at=row.updated_ms,
    )


_IDLE = {"status": SlotStatus.IDLE, "run_id": None, "task_type": None, "updated_ms": NOW}


def take(tx: Transaction, slot: Slot, run: Run | Candidate) -> None:
    """idle → running for this run. Raises Raced if the slot is not as it was seen, closed, or of another pool."""
    _take(tx, slot, run, SlotStatus.RUNNING)


def take_own(tx: Transaction, run: Run | Candidate) -> Slot | None:
    """reserved → running in the slot that is reserved for this run; None if it has none that is open, in its pool."""
    row = statement.update(
        tx,
        slots,
        {"run_id": run.id, "pool": run.pool, "status": SlotStatus.RESERVED, "closed": None},
        {"status": SlotStatus.RUNNING, "updated_ms": NOW},
        returning=tuple(slots.c),
    ).first()
    return to_slot(row) if row else None


def reserve(tx: Transaction, run_id: int) -> bool:
    """running → reserved for the same run, if the slot is open; tells whether it was."""
    return _update(
        tx,
        {"run_id": run_id, "status": SlotStatus.RUNNING, "closed": None},
        {"status": SlotStatus.RESERVED},
    )


def reserve_idle(tx: Transaction, slot: Slot, run: Run) -> None:
    """idle → reserved for this run. Raises Raced if the slot is not as it was seen, closed, or of another pool."""
    _take(tx, slot, run, SlotStatus.RESERVED)


def _take(tx: Transaction, slot: Slot, run: Run | Candidate, status: SlotStatus) -> None:
    taken = slot.protocol >= run.needs_protocol and _update(
        tx,
        {**_at(slot), "agent_id": slot.agent_id, "pool": run.pool, "status": SlotStatus.IDLE, "closed": None},
        {"status": status, "run_id": run.id, "task_type": run.run_type},
    )
    if not taken:
        raise Raced


def confirm_hold(
    tx: Transaction, run_id: int, place: Place, *, status: SlotStatus | tuple[SlotStatus, ...] = SlotStatus.RUNNING
) -> None:
    """Check under a lock that this slot, of this agent's boot, is held by the run. Raises Raced otherwise."""
    held = _update(tx, {**_at(place), "agent_id": place.agent_id, "run_id": run_id, "status": status}, {})
    if not held:
        raise Raced


def release(tx: Transaction, run_id: int, *, status: SlotStatus | None = None) -> bool:
    """Free the slot that a run holds (in this status), if it holds one; tells whether it did."""
    seen = {"run_id": run_id} if status is None else {"run_id": run_id, "status": status}
    return _update(tx, seen, _IDLE)


def release_at(tx: Transaction, slot: Slot) -> bool:
    """Free a slot that is still as it was seen; tells whether it was."""
    return _update(tx, {**_at(slot), "run_id": slot.run_id, "status": slot.status}, _IDLE)


def close(tx: Transaction, pod_name: str, slot_id: int, agent_id: str, why: Closed) -> None:
    """Offer the slot to nobody."""
    seen = {"pod_name": pod_name, "slot_id": slot_id, "agent_id": agent_id, "closed": None}
    _update(tx, seen, {"closed": why})


def drain(tx: Transaction, place: Place) -> None:
    """Close a slot for good, whatever it is closed for already: nobody opens it again for another reason."""
    _update(tx, {**_at(place), "agent_id": place.agent_id}, {"closed": Closed.DRAINING})


def close_idle(tx: Transaction, pod_name: str, agent_id: str, why: Closed) -> int:
    """Close what is idle and open in a pod; returns how many slots. What a run holds stays as it is."""
    seen = {"pod_name": pod_name, "agent_id": agent_id, "status": SlotStatus.IDLE, "closed": None}
    return statement.update(tx, slots, seen, {"closed": why, "updated_ms": NOW}).rowcount


def open_closed(tx: Transaction, pod_name: str, agent_id: str, why: Closed) -> int:
    """Open what was closed for this reason in a pod; returns how many slots."""
    seen = {"pod_name": pod_name, "agent_id": agent_id, "closed": why}
    return statement.update(tx, slots, seen, {"closed": None, "updated_ms": NOW}).rowcount


def open_again(tx: Transaction, place: Place) -> bool:
    """Open a slot whose process answers and found nothing of an earlier run alive.

    Never one that is draining, nor one of a silent agent: it is `starting` once that has registered anew.
    """
    closed = (Closed.STARTING, Closed.NOT_ANSWERING)
    return _update(tx, {**_at(place), "agent_id": place.agent_id, "closed": closed}, {"closed": None})


def _at(where: Slot | Place) -> dict[str, Any]:
    return {"pod_name": where.pod_name, "slot_id": where.slot_id}


def _update(tx: Transaction, seen: Mapping[str, Any], becomes: Mapping[str, Any]) -> bool:
    """Change the slot that is as it was seen; tells whether it was."""
    return statement.update(tx, slots, seen, {"updated_ms": NOW, **becomes}).rowcount == 1


def held_by(tx: Transaction, run_id: int) -> Slot | None:
    """Return the slot that a run holds."""
    row = tx.execute(sa.select(slots).where(slots.c.run_id == run_id)).first()
    return to_slot(row) if row else None


def held_by_any(tx: Transaction, run_ids: Collection[int]) -> list[Slot]:
    """Return the slots that these runs hold, each at most one."""
    return readable.many(tx, sa.select(slots).where(slots.c.run_id.in_(run_ids)), _KEY, to_slot)


def held_in(tx: Transaction, pod_name: str) -> list[Slot]:
    """Return the slots of a pod that runs hold."""
    return [slot for slot in listed(tx, pod_name=pod_name) if slot.run_id is not None]


def held_by_since(tx: Transaction, run_id: int, *, older_than_ms: int) -> Slot | None:
    """Return the slot that a run holds, if its row has not changed for that long."""
    row = tx.execute(
        sa.select(slots).where(slots.c.run_id == run_id, slots.c.updated_ms <= tx.now - older_than_ms)
    ).first()
    return to_slot(row) if row else None


def take_unasked(tx: Transaction, *, every_ms: int) -> list[Slot]:
    """Return idle slots closed for not answering that were not asked for that long; they count as asked now."""
    rows = tx.execute(
        slots.update()
        .where(
            slots.c.closed == Closed.NOT_ANSWERING,
            slots.c.status == SlotStatus.IDLE,
            slots.c.updated_ms <= tx.now - every_ms,
        )
        .values(updated_ms=tx.now)
        .returning(*slots.c)
    )
    return [to_slot(row) for row in rows]


def at(tx: Transaction, pod_name: str, slot_id: int) -> Slot | None:
    """Return one slot."""
    row = tx.execute(sa.select(slots).where(slots.c.pod_name == pod_name, slots.c.slot_id == slot_id)).first()
    return to_slot(row) if row else None


def listed(tx: Transaction, *, pool: str | None = None, pod_name: str | None = None) -> list[Slot]:
    """Return slots by pod and number, without those whose row is broken."""
    wanted = sa.select(slots).order_by(*_KEY)
    if pool is not None:
        wanted = wanted.where(slots.c.pool == pool)
    if pod_name is not None:
        wanted = wanted.where(slots.c.pod_name == pod_name)
    return readable.many(tx, wanted, _KEY, to_slot)


def reserved_of_pool(tx: Transaction, pool: str) -> list[Slot]:
    """Return the slots that are kept for runs of a pool."""
    kept = sa.select(slots).join(runs, runs.c.id == slots.c.run_id)
    return readable.many(tx, kept.where(slots.c.status == SlotStatus.RESERVED, runs.c.pool == pool), _KEY, to_slot)


IS_FREE = f"status = '{SlotStatus.IDLE}' AND closed IS NULL"
"""The condition of the index on free slots; without parameters, as in `startable`."""
_SOME_PODS = 100

_WITH_FREE_ONE = (
    sa.select(slots.c.pod_name)
    .where(sa.text(IS_FREE), slots.c.pool == sa.bindparam("pool"), slots.c.protocol >= sa.bindparam("needs"))
    .order_by(slots.c.pod_name)
    .limit(_SOME_PODS)
    .distinct()
)
_FULLEST = (
    sa.select(slots.c.pod_name)
    .where(slots.c.pod_name.in_(_WITH_FREE_ONE))
    .group_by(slots.c.pod_name)
    .order_by(sa.func.sum(sa.case((slots.c.status != SlotStatus.IDLE, 1), else_=0)).desc(), slots.c.pod_name)
    .limit(sa.bindparam("pods", type_=sa.Integer))
)
_WITH_ROOM = sa.select(slots).where(slots.c.pod_name.in_(_FULLEST)).order_by(*_KEY)
_FREE = (
    sa.select(slots.c.pool, sa.func.count().label("number"))
    .where(sa.text(IS_FREE), slots.c.pool.not_in(freezes.FROZEN_POOLS))
    .group_by(slots.c.pool)
)


def with_room(tx: Transaction, pool: str, *, pods: int, needs: int) -> list[Slot]:
    """Return all slots of a few pods of a pool that have a free one: of the fullest, among the first by name.

    needs: the protocol that their agents speak at least.
    """
    return readable.many(tx, _WITH_ROOM, _KEY, to_slot, {"pool": pool, "pods": pods, "needs": needs})


def free_by_pool(tx: Transaction) -> dict[str, int]:
    """Count the free slots of each pool that is not frozen and has one."""
    return {row.pool: row.number for row in tx.execute(_FREE)}


def stale(tx: Transaction) -> list[tuple[Slot, str]]:
    """Return slots that a run holds which should not (by its status), for the reconciler, with that status."""
    held = sa.select(slots, runs.c.status.label("run_status")).join(runs, runs.c.id == slots.c.run_id)
    return readable.many(tx, held, _KEY, lambda row: (to_slot(row), row.run_status))
