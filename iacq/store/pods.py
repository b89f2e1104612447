"""Pods and their heartbeats: what their agents say. What is decided about pods is in `pod_lifecycle`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from iacq.domain import versions
from iacq.domain.pool import PoolPod
from iacq.domain.slot import GOING, Closed, Pod, PodStatus, Slot, SlotStatus
from iacq.errors import Conflict
from iacq.store import participation, pools
from iacq.store import slots as slot_rows
from iacq.store.schema import heartbeats, pods, slots
from iacq.store.session import Transaction

_LIVING = (PodStatus.ONLINE, *sorted(GOING))
"""A pod in one of these whose agent is silent has not been noticed yet."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One boot of a pod's agent."""

    pod_name: str
    agent_id: str
    pool: str
    slots: int
    managed: bool = False  # a runtime started it, because iacq asked for the pod
    protocol: int = versions.PROTOCOL  # that this agent speaks


def register(tx: Transaction, new: Registration) -> list[Slot]:
    """Make the pod's rows this boot's; its slots are closed until their processes answer.

    Returns the slots that a run still holds from before: the caller settles those. Claims of the boot before change no
    row from here on, since a claim checks the agent of its slot. A pod that is going stays so, with closed slots.
    Raises Conflict for an agent of a pod that iacq does not want any more.
    """
    closed = Closed.DRAINING if _register_pod(tx, new) in GOING else Closed.STARTING
    beat(tx, new.pod_name, new.agent_id)
    known = {slot.slot_id for slot in slot_rows.listed(tx, pod_name=new.pod_name)}
    values = {
        "agent_id": new.agent_id,
        "pool": new.pool,
        "closed": closed,
        "protocol": new.protocol,
        "updated_ms": tx.now,
    }
    for number in range(1, new.slots + 1):
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
    return slot_rows.held_in(tx, new.pod_name)


def _register_pod(tx: Transaction, new: Registration) -> PodStatus:
    """Change or insert the pod's row, which stays locked; returns its status. One that is too old is draining.

    One that was started by hand comes back from a drain with its next boot: whoever starts it wants it.
    """
    this = pods.c.name == new.pod_name
    found = tx.execute(sa.select(pods).where(this).with_for_update()).first()
    if new.managed and (found is None or found.generation is None):
        raise Conflict(f"pod {new.pod_name} is not wanted any more", field="pod")
    values: dict[str, Any] = {
        "agent_id": new.agent_id,
        "pool": new.pool,
        "slots": new.slots,
        "protocol": new.protocol,
    }
    status, reason = PodStatus.ONLINE, versions.too_old(new.protocol, participation.demanded(tx))
    if reason is not None:
        status = PodStatus.DRAINING
    if found is not None and found.status in GOING and (new.managed or found.agent_id == new.agent_id):
        status = PodStatus(found.status)
    else:
        values |= {"status": status, "since_ms": tx.now, "reason": reason}
    if found is None:
        pools.ensure(tx, new.pool, slots=new.slots)
        tx.execute(pods.insert().values(name=new.pod_name, created_ms=tx.now, **values))
    else:
        tx.execute(pods.update().where(this).values(**values))
    if reason is not None and new.managed and found is not None:
        pools.note_failure(tx, new.pool, asked_at=found.created_ms, reason=reason)  # so the next ones are tried rarely
    return status


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
    return found in _LIVING


def set_offline(tx: Transaction, pod_name: str, agent_id: str) -> list[Slot]:
    """Mark this boot offline and close its slots, in one step. Returns the slots that runs hold.

    A pod that is going stays so.
    """
    of_boot = (pods.c.name == pod_name, pods.c.agent_id == agent_id)
    tx.execute(
        pods.update().where(*of_boot, pods.c.status.not_in(GOING)).values(status=PodStatus.OFFLINE, since_ms=tx.now)
    )
    tx.execute(
        slots.update()
        .where(slots.c.pod_name == pod_name, slots.c.agent_id == agent_id)
        .values(closed=Closed.OFFLINE, updated_ms=tx.now)
    )
    return [slot for slot in slot_rows.held_in(tx, pod_name) if slot.agent_id == agent_id]


def counted_as_there(tx: Transaction) -> list[Pod]:
    """Return the pods whose agent is taken for alive: of which it was not noticed that they are silent."""
    unnoticed = sa.exists().where(
        slots.c.pod_name == pods.c.name, sa.or_(slots.c.closed.is_(None), slots.c.closed != Closed.OFFLINE)
    )
    return listed(tx, where=sa.or_(pods.c.status == PodStatus.ONLINE, sa.and_(pods.c.status.in_(GOING), unnoticed)))


def find(tx: Transaction, name: str) -> Pod | None:
    """Return one pod, if there is one of that name."""
    return next(iter(listed(tx, where=pods.c.name == name)), None)


def listed(tx: Transaction, *, where: sa.ColumnElement[bool] | None = None) -> list[Pod]:
    """Return pods by name, with their last heartbeat."""
    statement = (
        sa.select(pods, heartbeats.c.at_ms)
        .outerjoin(heartbeats, heartbeats.c.pod_name == pods.c.name)
        .order_by(pods.c.name)
    )
    if where is not None:
        statement = statement.where(where)
    return [to_pod(row) for row in tx.execute(statement)]


def to_pod(row: sa.Row[Any]) -> Pod:
    """Make a value of a row with the time of its heartbeat."""
    return Pod(
        name=row.name,
        agent_id=row.agent_id,
        pool=row.pool,
        slots=row.slots,
        status=PodStatus(row.status),
        created_at=row.created_ms,
        last_heartbeat=row.at_ms,
        since=row.since_ms,
        runtime=row.runtime,
        generation=row.generation,
        protocol=row.protocol,
        reason=row.reason,
    )


def of_pool(tx: Transaction, pool: str) -> list[PoolPod]:
    """Return the pods of a pool with their slots, for the scaler."""
    by_pod: dict[str, list[Slot]] = {}
    for slot in slot_rows.listed(tx, pool=pool):
        by_pod.setdefault(slot.pod_name, []).append(slot)
    return [
        PoolPod(
            name=pod.name,
            status=pod.status,
            slots=tuple(by_pod.get(pod.name, ())),
            created_at=pod.created_at,
            generation=pod.generation,
        )
        for pod in listed(tx, where=pods.c.pool == pool)
    ]


def forget(tx: Transaction, pod_name: str, agent_id: str) -> bool:
    """Remove a pod that was started by hand and stopped cleanly; tells whether it was removed.

    Not if something of it is still held, and not one that iacq asked for: that comes back or is proven gone.
    """
    this_boot = sa.and_(pods.c.name == pod_name, pods.c.agent_id == agent_id, pods.c.generation.is_(None))
    if tx.execute(sa.select(pods.c.name).where(this_boot)).first() is None or slot_rows.held_in(tx, pod_name):
        return False
    return bool(remove_rows(tx, [pod_name]))


def remove_rows(tx: Transaction, names: Iterable[str]) -> list[str]:
    """Remove pods with their slots, but for those in which a run holds something by now; returns which went."""
    wanted = list(names)
    there = sa.select(slots.c.pod_name, slots.c.run_id).where(slots.c.pod_name.in_(wanted))
    in_order = there.order_by(slots.c.pod_name, slots.c.slot_id)
    locked = tx.execute(in_order.with_for_update())  # a dispatch that takes one of them is waited for, and seen
    kept = {row.pod_name for row in locked if row.run_id is not None}
    gone = [name for name in wanted if name not in kept]
    for column in (slots.c.pod_name, heartbeats.c.pod_name, pods.c.name):
        tx.execute(column.table.delete().where(column.in_(gone)))
    return gone
