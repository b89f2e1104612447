"""Pods and their heartbeats."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from iacq.domain.slot import Closed, Pod, PodStatus, Slot, SlotStatus
from iacq.store import slots as slot_rows
from iacq.store.schema import heartbeats, pods, slots
from iacq.store.session import Transaction


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One boot of a pod's agent."""

    pod_name: str
    agent_id: str
    pool: str
    slots: int


def register(tx: Transaction, new: Registration) -> list[Slot]:
    """Make the pod's rows this boot's; its slots are closed until their processes answer.

    Returns the slots that a run still holds from before: the caller settles those. Claims of the boot before change no
    row from here on, since a claim checks the agent of its slot.
    """
    tx.execute(pods.delete().where(pods.c.name == new.pod_name))
    tx.execute(
        pods.insert().values(
            name=new.pod_name,
            agent_id=new.agent_id,
            pool=new.pool,
            slots=new.slots,
            status=PodStatus.ONLINE,
            created_ms=tx.now,
        )
    )
    beat(tx, new.pod_name, new.agent_id)
    known = {slot.slot_id: slot for slot in slot_rows.listed(tx, pod_name=new.pod_name)}
    for number in range(1, new.slots + 1):
        values = {"agent_id": new.agent_id, "pool": new.pool, "closed": Closed.STARTING, "updated_ms": tx.now}
        if number in known:
            tx.execute(
                slots.update().where(slots.c.pod_name == new.pod_name, slots.c.slot_id == number).values(**values)
            )
        else:
            tx.execute(slots.insert().values(pod_name=new.pod_name, slot_id=number, status=SlotStatus.IDLE, **values))
    tx.execute(
        slots.delete().where(
            slots.c.pod_name == new.pod_name, slots.c.slot_id > new.slots, slots.c.status == SlotStatus.IDLE
        )
    )
    return [slot for slot in slot_rows.listed(tx, pod_name=new.pod_name) if slot.run_id is not None]


def beat(tx: Transaction, pod_name: str, agent_id: str) -> None:
    """Say that this agent is there."""
    changed = tx.execute(
        heartbeats.update().where(heartbeats.c.pod_name == pod_name).values(agent_id=agent_id, at_ms=tx.now)
    )
    if changed.rowcount == 0:
        tx.execute(heartbeats.insert().values(pod_name=pod_name, agent_id=agent_id, at_ms=tx.now))


def is_registered(tx: Transaction, pod_name: str, agent_id: str) -> bool:
    """Tell whether this boot is the pod's and counts as online; an agent that went silent must register anew."""
    found = tx.execute(sa.select(pods.c.status).where(pods.c.name == pod_name, pods.c.agent_id == agent_id)).scalar()
    return found in (PodStatus.ONLINE, PodStatus.DRAINING)


def set_status(tx: Transaction, pod_name: str, agent_id: str, status: PodStatus, close: Closed) -> list[Slot]:
    """Mark this boot draining or offline and close its slots, in one step. Returns the slots that runs hold."""
    tx.execute(pods.update().where(pods.c.name == pod_name, pods.c.agent_id == agent_id).values(status=status))
    tx.execute(
        slots.update()
        .where(slots.c.pod_name == pod_name, slots.c.agent_id == agent_id)
        .values(closed=close, updated_ms=tx.now)
    )
    return [
        slot
        for slot in slot_rows.listed(tx, pod_name=pod_name)
        if slot.run_id is not None and slot.agent_id == agent_id
    ]


def silent(tx: Transaction, *, longer_than_ms: int) -> list[Pod]:
    """Return the pods that count as there and have not been heard for so long."""
    return [
        pod
        for pod in listed(tx, where=heartbeats.c.at_ms < tx.now - longer_than_ms)
        if pod.status in (PodStatus.ONLINE, PodStatus.DRAINING)
    ]


def listed(tx: Transaction, *, where: sa.ColumnElement[bool] | None = None) -> list[Pod]:
    """Return pods by name, with their last heartbeat."""
    statement = (
        sa.select(pods, heartbeats.c.at_ms)
        .outerjoin(heartbeats, heartbeats.c.pod_name == pods.c.name)
        .order_by(pods.c.name)
    )
    if where is not None:
        statement = statement.where(where)
    return [
        Pod(
            name=row.name,
            agent_id=row.agent_id,
            pool=row.pool,
            slots=row.slots,
            status=PodStatus(row.status),
            created_at=row.created_ms,
            last_heartbeat=row.at_ms,
        )
        for row in tx.execute(statement)
    ]


def forget(tx: Transaction, pod_name: str, agent_id: str) -> bool:
    """Remove a pod that stopped cleanly, if nothing of it is held any more; tells whether it was removed."""
    held = tx.execute(
        sa.select(slots.c.slot_id).where(slots.c.pod_name == pod_name, slots.c.run_id.is_not(None)).limit(1)
    ).first()
    if held is not None:
        return False
    for table, column in (
        (slots, slots.c.pod_name),
        (heartbeats, heartbeats.c.pod_name),
        (pods, pods.c.name),
    ):
        tx.execute(table.delete().where(column == pod_name, table.c.agent_id == agent_id))
    return True
