"""What a pool's runs ask of it, counted. Flat in the backlog: what waits is counted up to a bound."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from iacq.domain import pool as domain
from iacq.domain import transitions
from iacq.domain.pool import Demand
from iacq.domain.run import Status
from iacq.domain.slot import PodStatus, SlotStatus
from iacq.store import freezes
from iacq.store.protocol import warming
from iacq.store.schema import pods, pools, runs, slots, workspaces
from iacq.store.session import Transaction
from iacq.store.slots import IS_FREE
from iacq.store.startable import CHANGING, PLANS, first_of_each, is_held, is_pending, is_unended, waits

_POOL = runs.c.pool == sa.bindparam("pool")
_UNLOCKED = runs.c.workspace_id.not_in(sa.select(workspaces.c.name).where(workspaces.c.locked_ms.is_not(None)))
_WAITING_FOR_NO_RUN = sorted(set(Status) - transitions.ENDED - {Status.PENDING})

_HELD = (
    sa.select(runs.c.status, slots.c.run_id.is_not(None).label("held"), sa.func.count().label("number"))
    .outerjoin(slots, slots.c.run_id == runs.c.id)
    .where(sa.text(is_unended(f"{runs.name}.")), runs.c.status.in_(_WAITING_FOR_NO_RUN), _POOL)
    .group_by(runs.c.status, slots.c.run_id.is_not(None))
)
_CONFIRMED = (
    sa.select(sa.func.count())
    .select_from(runs)
    .where(
        sa.text(is_unended(f"{runs.name}.")),
        runs.c.status == Status.CONFIRMED,
        _POOL,
        _UNLOCKED,
        ~sa.exists().where(slots.c.run_id == runs.c.id),
    )
)


def _count_plans() -> sa.Select[Any]:
    some = sa.select(runs.c.id).where(sa.text(is_pending("", *PLANS)), _POOL)
    return sa.select(sa.func.count()).select_from(some.limit(sa.bindparam("at_most", type_=sa.Integer)).subquery())


def _count_workspaces() -> sa.Select[Any]:
    first = first_of_each("waiting", ("workspace_id",), CHANGING)
    return sa.select(sa.func.count()).select_from(runs.join(first, first.c.id == runs.c.id)).where(~is_held())


_PLANS = _count_plans()
_WORKSPACES = _count_workspaces()


def count(tx: Transaction, pool: str, *, at_most: int, warmups: int) -> Demand:
    """Count the runs of a pool that need a slot; of those that could start, at most about so many of each kind.

    warmups: that one run may have; who lost its slot and has some left wants another slot.
    """
    held = {(Status(row.status), bool(row.held)): row.number for row in tx.execute(_HELD, {"pool": pool})}
    # A workspace that one of these runs holds is looked at in vain.
    jumps = at_most + sum(held.values())
    first = tx.execute(_WORKSPACES, {"pool": pool, "waiting_workspace_id": "", "jumps": jumps}).scalar_one()
    plans = tx.execute(_PLANS, {"pool": pool, "at_most": at_most}).scalar_one()
    confirmed = tx.execute(_CONFIRMED, {"pool": pool}).scalar_one()
    unprepared = warming.count_unprepared(tx, pool, retries=warmups)
    return domain.count_demand(held, startable=plans + first, confirmed=confirmed, unprepared=unprepared)


_WAITS = sa.text(waits(f"{runs.name}."))
_IS_CONFIRMED = sa.and_(sa.text(is_unended(f"{runs.name}.")), runs.c.status == Status.CONFIRMED)
_ANYTHING = sa.select(
    sa.or_(*(sa.select(runs.c.id).where(condition).exists() for condition in (_WAITS, _IS_CONFIRMED)))
)


def _short_pools() -> sa.Select[Any]:
    mine = pools.c.name
    pending = sa.exists().where(_WAITS, runs.c.pool == mine)
    confirmed = sa.exists().where(_IS_CONFIRMED, runs.c.pool == mine)
    room = sa.exists().where(slots.c.pool == mine, sa.text(IS_FREE))
    reserved = sa.exists().where(slots.c.pool == mine, slots.c.status == SlotStatus.RESERVED)
    present = sa.select(sa.func.count()).where(pods.c.pool == mine, pods.c.status != PodStatus.OFFLINE)
    remedy = sa.or_(reserved, present.scalar_subquery() < pools.c.max_pods)
    return (
        sa.select(mine)
        .where(sa.or_(pending, confirmed), ~room, remedy, mine.not_in(freezes.FROZEN_POOLS))
        .order_by(mine)
    )


_SHORT_POOLS = _short_pools()


def short_pools(tx: Transaction) -> list[str]:
    """Name the pools in which something waits and no slot is free, though a pod or a reservation could change that."""
    if not tx.execute(_ANYTHING).scalar():  # most looks are for nothing
        return []
    return list(tx.execute(_SHORT_POOLS).scalars())
