"""Slot rows. A row is the hold: at most one run per slot and one slot per run, by constraint."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from iacq.domain.run import Run
from iacq.domain.slot import Closed, Place, Slot, SlotStatus
from iacq.store.schema import runs, slots
from iacq.store.session import Transaction


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
        updated_at=row.updated_ms,
    )


def _at(pod_name: str, slot_id: int) -> sa.ColumnElement[bool]:
    return sa.and_(slots.c.pod_name == pod_name, slots.c.slot_id == slot_id)


def take(tx: Transaction, slot: Slot, run: Run) -> None:
    """idle → running for this run. Raises Raced if the slot is not as it was seen, or closed."""
    tx.change_one(
        slots.update()
        .where(
            _at(slot.pod_name, slot.slot_id),
            slots.c.agent_id == slot.agent_id,
            slots.c.status == SlotStatus.IDLE,
            slots.c.closed.is_(None),
        )
        .values(status=SlotStatus.RUNNING, run_id=run.id, task_type=run.run_type, updated_ms=tx.now)
        .returning(slots.c.slot_id)
    )


def take_own(tx: Transaction, run: Run) -> Slot | None:
    """reserved → running in the slot that is reserved for this run; None if it has none that is open."""
    row = tx.execute(
        slots.update()
        .where(slots.c.run_id == run.id, slots.c.status == SlotStatus.RESERVED, slots.c.closed.is_(None))
        .values(status=SlotStatus.RUNNING, updated_ms=tx.now)
        .returning(*slots.c)
    ).first()
    return to_slot(row) if row else None


def reserve(tx: Transaction, run_id: int) -> bool:
    """running → reserved for the same run, if the slot is open; tells whether it was."""
    changed = tx.execute(
        slots.update()
        .where(slots.c.run_id == run_id, slots.c.status == SlotStatus.RUNNING, slots.c.closed.is_(None))
        .values(status=SlotStatus.RESERVED, updated_ms=tx.now)
    )
    return changed.rowcount == 1


def confirm_hold(tx: Transaction, run_id: int, place: Place) -> None:
    """Check under a lock that this slot, of this agent's boot, is held by the run. Raises Raced otherwise."""
    tx.change_one(
        slots.update()
        .where(
            _at(place.pod_name, place.slot_id),
            slots.c.agent_id == place.agent_id,
            slots.c.run_id == run_id,
            slots.c.status == SlotStatus.RUNNING,
        )
        .values(updated_ms=tx.now)
        .returning(slots.c.slot_id)
    )


def release(tx: Transaction, run_id: int, *, status: SlotStatus | None = None) -> bool:
    """Free the slot that a run holds (in this status), if it holds one; tells whether it did."""
    statement = slots.update().where(slots.c.run_id == run_id)
    if status is not None:
        statement = statement.where(slots.c.status == status)
    changed = tx.execute(statement.values(status=SlotStatus.IDLE, run_id=None, task_type=None, updated_ms=tx.now))
    return changed.rowcount == 1


def release_at(tx: Transaction, slot: Slot) -> bool:
    """Free a slot that is still as it was seen; tells whether it was."""
    changed = tx.execute(
        slots.update()
        .where(_at(slot.pod_name, slot.slot_id), slots.c.run_id == slot.run_id, slots.c.status == slot.status)
        .values(status=SlotStatus.IDLE, run_id=None, task_type=None, updated_ms=tx.now)
    )
    return changed.rowcount == 1


def close(tx: Transaction, pod_name: str, slot_id: int, agent_id: str, why: Closed) -> None:
    """Offer the slot to nobody."""
    tx.execute(
        slots.update()
        .where(_at(pod_name, slot_id), slots.c.agent_id == agent_id, slots.c.closed.is_(None))
        .values(closed=why, updated_ms=tx.now)
    )


def open_again(tx: Transaction, place: Place) -> bool:
    """Open a slot whose process answers and found nothing of an earlier run alive.

    Never one that is draining, nor one of a silent agent: it is `starting` once that has registered anew.
    """
    changed = tx.execute(
        slots.update()
        .where(
            _at(place.pod_name, place.slot_id),
            slots.c.agent_id == place.agent_id,
            slots.c.closed.in_([Closed.STARTING, Closed.NOT_ANSWERING]),
        )
        .values(closed=None, updated_ms=tx.now)
    )
    return changed.rowcount == 1


def held_by(tx: Transaction, run_id: int) -> Slot | None:
    """Return the slot that a run holds."""
    row = tx.execute(sa.select(slots).where(slots.c.run_id == run_id)).first()
    return to_slot(row) if row else None


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
    row = tx.execute(sa.select(slots).where(_at(pod_name, slot_id))).first()
    return to_slot(row) if row else None


def listed(tx: Transaction, *, pool: str | None = None, pod_name: str | None = None) -> list[Slot]:
    """Return slots by pod and number."""
    statement = sa.select(slots).order_by(slots.c.pod_name, slots.c.slot_id)
    if pool is not None:
        statement = statement.where(slots.c.pool == pool)
    if pod_name is not None:
        statement = statement.where(slots.c.pod_name == pod_name)
    return [to_slot(row) for row in tx.execute(statement)]


def stale(tx: Transaction) -> list[tuple[Slot, str]]:
    """Return slots that a run holds which should not (by its status), for the reconciler, with that status."""
    rows = tx.execute(sa.select(slots, runs.c.status.label("run_status")).join(runs, runs.c.id == slots.c.run_id))
    return [(to_slot(row), row.run_status) for row in rows]
