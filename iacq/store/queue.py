"""What waits: runs that were confirmed, what is under way, and what a workspace does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import sqlalchemy as sa

from iacq.domain import transitions, versions
from iacq.domain.queueing import Candidate
from iacq.domain.run import Run, Status
from iacq.domain.slot import SlotStatus
from iacq.store import freezes, readable
from iacq.store import runs as run_rows
from iacq.store.schema import runs, slots, workspaces
from iacq.store.session import Transaction
from iacq.store.startable import CHANGING, COLUMNS, is_active, is_pending, is_unended, to_candidate

LIMIT = 300
"""Confirmed runs that are looked at: there are never more free slots than that for long."""

_UNENDED = sa.text(is_unended())
_OWN_SLOT = sa.exists().where(
    slots.c.run_id == runs.c.id, slots.c.status == SlotStatus.RESERVED, slots.c.closed.is_(None)
)
_CONFIRMED = (
    sa.select(*COLUMNS)
    .where(
        _UNENDED,
        runs.c.status == Status.CONFIRMED,
        runs.c.needs_protocol <= versions.PROTOCOL,
        runs.c.workspace_id.not_in(sa.select(workspaces.c.name).where(workspaces.c.locked_ms.is_not(None))),
        runs.c.pool.not_in(freezes.FROZEN_POOLS),
        sa.or_(runs.c.pool.in_(sa.bindparam("pools", expanding=True)), _OWN_SLOT),
    )
    .order_by(runs.c.priority.desc(), runs.c.id)
    .limit(LIMIT)
)
_RUNNING = (
    sa.select(runs.c.workspace_id, runs.c.requested_by, sa.func.count().label("number"))
    .where(_UNENDED, runs.c.status.in_(sorted(transitions.QUEUED | transitions.RUNNING)))
    .group_by(runs.c.workspace_id, runs.c.requested_by)
)
_ACTIVE = sa.select(*run_rows.COLUMNS).where(
    sa.text(is_active()), runs.c.workspace_id == sa.bindparam("workspace", type_=sa.String)
)
_NEXT = (
    sa.select(*run_rows.COLUMNS)
    .where(
        sa.text(is_pending("", *CHANGING)),
        runs.c.pool == sa.bindparam("pool", type_=sa.String),
        runs.c.workspace_id == sa.bindparam("workspace", type_=sa.String),
    )
    .order_by(runs.c.priority.desc(), runs.c.id)
    .limit(1)
)


def confirmed(tx: Transaction, pools: Collection[str]) -> list[Candidate]:
    """Return confirmed runs that could start: in these pools, or in the slot that is kept for them.

    Those of a locked workspace or a frozen pool are not among them.
    """
    return readable.many(tx, _CONFIRMED, (runs.c.id,), to_candidate, {"pools": sorted(pools)})


def running_counts(tx: Transaction) -> tuple[Counter[str], Counter[str]]:
    """Count what runs or is queued, by workspace and by caller."""
    by_workspace, by_caller = Counter[str](), Counter[str]()
    for row in tx.execute(_RUNNING):
        by_workspace[row.workspace_id] += row.number
        by_caller[row.requested_by] += row.number
    return by_workspace, by_caller


def active_of(tx: Transaction, workspace: str) -> Run | None:
    """Return the state-changing run of a workspace between `plan_queued` and its end."""
    found = readable.many(tx, _ACTIVE, (runs.c.id,), run_rows.to_run, {"workspace": workspace})
    return next(iter(found), None)


def first_pending_of(tx: Transaction, workspace: str, pool: str) -> Run | None:
    """Return the state-changing run of a workspace that comes next. All that are pending wait in the same pool."""
    found = readable.many(tx, _NEXT, (runs.c.id,), run_rows.to_run, {"workspace": workspace, "pool": pool})
    return next(iter(found), None)
