"""What iacq decides about pods: asked for, draining, to be deleted, gone. Each step is one compare-and-set.

The row comes before the pod, and goes after it. So whatever is killed between two steps, the next look at the rows and
at what the runtime has tells where to go on.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from iacq.domain.slot import GOING, Closed, Pod, PodStatus, Slot
from iacq.store import pods as pod_rows
from iacq.store import pools
from iacq.store import slots as slot_rows
from iacq.store.schema import heartbeats, pods, slots
from iacq.store.schema import pools as pool_table
from iacq.store.session import Raced, Transaction

_COUNTED = (PodStatus.STARTING, PodStatus.ONLINE, *sorted(GOING))
"""What counts against the maximum of a pool: nobody knows whether an offline pod exists."""


def ask(tx: Transaction, name: str, *, pool: str, runtime: str, existing: int) -> Pod:
    """Add the row of a pod that is to be created, of the present generation.

    existing: how many pods of the pool there were, offline ones not counted, when it was decided that one is lacking.
    Raises Raced if there are others by now, or the pool is gone: somebody else decided meanwhile.
    """
    row = tx.execute(sa.select(pool_table).where(pool_table.c.name == pool).with_for_update()).first()
    present = sa.select(sa.func.count()).where(pods.c.pool == pool, pods.c.status.in_(_COUNTED))
    if row is None or tx.execute(present).scalar_one() != existing:
        raise Raced
    asked = pods.insert().values(
        name=name,
        pool=pool,
        slots=row.slots_per_pod,
        status=PodStatus.STARTING,
        since_ms=tx.now,
        created_ms=tx.now,
        runtime=runtime,
        generation=row.generation,
    )
    return pod_rows.to_pod(tx.change_one(asked.returning(*pods.c, sa.null().label("at_ms"))))


def start_again(tx: Transaction, name: str) -> Pod:
    """offline → starting: whatever runs it has started its agent once more."""
    return _change(tx, name, {PodStatus.OFFLINE}, status=PodStatus.STARTING, since_ms=tx.now)


def drain_if_idle(tx: Transaction, name: str, *, reason: str) -> Pod:
    """starting, online → draining, with all slots closed, if nothing is held in any of them. Raises Raced otherwise.

    Dispatch takes a slot only while it is open, under the same row lock: either it comes first and nothing is drained,
    or it finds the slot closed.
    """
    drained = _drain(tx, name, reason)
    if slot_rows.held_in(tx, name):
        raise Raced
    return drained


def drain(tx: Transaction, name: str, *, reason: str) -> list[Slot]:
    """starting, online, offline → draining, with all slots closed; returns those that runs hold.

    What waits in them is for the caller to give back; what runs there ends there. Raises Raced if it is going already.
    """
    _drain(tx, name, reason, PodStatus.OFFLINE)
    return slot_rows.held_in(tx, name)


def _drain(tx: Transaction, name: str, reason: str, *also: PodStatus) -> Pod:
    sources = {PodStatus.STARTING, PodStatus.ONLINE, *also}
    drained = _change(tx, name, sources, status=PodStatus.DRAINING, since_ms=tx.now, reason=reason)
    _close_slots(tx, name)
    return drained


def delete(tx: Transaction, name: str, *, reason: str, failed: bool = False) -> Pod:
    """Any but deleting → deleting, with all slots closed. What is held stays held until the pod is proven gone.

    failed: it did not work; counted for the pool, once. Raises Raced if it is so already.
    """
    sources = set(PodStatus) - {PodStatus.DELETING}
    pod = _change(tx, name, sources, status=PodStatus.DELETING, since_ms=tx.now, reason=reason)
    _close_slots(tx, name)
    if failed:
        pools.note_failure(tx, pod.pool, asked_at=pod.created_at, reason=reason)
    return pod


def delete_if_empty(tx: Transaction, name: str, *, reason: str, failed: bool = False) -> Pod:
    """The same, unless something is held in it. Raises Raced then too."""
    pod = delete(tx, name, reason=reason, failed=failed)
    if slot_rows.held_in(tx, name):
        raise Raced
    return pod


def give_up(tx: Transaction, name: str, *, reason: str) -> Pod:
    """starting → offline: it does not come, and what may be alive in it keeps it from being deleted. A failure."""
    pod = _change(tx, name, {PodStatus.STARTING}, status=PodStatus.OFFLINE, since_ms=tx.now, reason=reason)
    pools.note_failure(tx, pod.pool, asked_at=pod.created_at, reason=reason)
    return pod


def explain(tx: Transaction, name: str, reason: str | None) -> None:
    """Say why a pod does not run."""
    tx.execute(pods.update().where(pods.c.name == name).values(reason=reason))


def remove(tx: Transaction, name: str) -> Pod:
    """deleting → no rows, once it is gone and nothing is held in it any more. Raises Raced otherwise."""
    pod = _change(tx, name, {PodStatus.DELETING}, status=PodStatus.DELETING)
    if not pod_rows.remove_rows(tx, [name]):
        raise Raced
    return pod


def forget_strays(tx: Transaction, *, runtime: str | None, older_than_ms: int) -> list[str]:
    """Remove silent pods that nobody can prove gone, and in which nothing is held; returns their names.

    Those are the ones that were started by hand, and those of another runtime than this one.
    """
    heard = sa.exists().where(heartbeats.c.pod_name == pods.c.name, heartbeats.c.at_ms > tx.now - older_than_ms)
    held = sa.exists().where(slots.c.pod_name == pods.c.name, slots.c.run_id.is_not(None))
    strays = (
        sa.select(pods.c.name)
        .where(
            sa.or_(pods.c.runtime.is_(None), pods.c.runtime != (runtime or "")),
            pods.c.since_ms <= tx.now - older_than_ms,
            ~heard,
            ~held,
        )
        .with_for_update()
    )
    names = list(tx.execute(strays).scalars())
    return pod_rows.remove_rows(tx, names) if names else []


def _close_slots(tx: Transaction, name: str) -> None:
    tx.execute(slots.update().where(slots.c.pod_name == name).values(closed=Closed.DRAINING, updated_ms=tx.now))


def _change(tx: Transaction, name: str, sources: set[PodStatus], **becomes: Any) -> Pod:
    """Change the row of a pod in one of these states, and keep it locked. Raises Raced if it is in none of them."""
    changed = pods.update().where(pods.c.name == name, pods.c.status.in_(sorted(sources))).values(**becomes)
    return pod_rows.to_pod(tx.change_one(changed.returning(*pods.c, sa.null().label("at_ms"))))
