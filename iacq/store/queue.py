"""What could start now, and what a waiting run waits for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa

from iacq.domain import transitions
from iacq.domain.queueing import Candidate
from iacq.domain.run import Run, RunType, Status
from iacq.store import freezes, readable
from iacq.store import runs as run_rows
from iacq.store.schema import runs, workspaces
from iacq.store.session import Transaction

_CHANGING = tuple(kind for kind in RunType if kind.changes_state)
_LIMIT = 200
"""Startable runs that are looked at: there are never more free slots than that for long."""

_CANDIDATE = (
    runs.c.id,
    runs.c.workspace_id,
    runs.c.task_type,
    runs.c.status,
    runs.c.pool,
    runs.c.priority,
    runs.c.requested_by,
)


def _to_candidate(row: sa.Row[Any]) -> Candidate:
    if None in row:
        raise ValueError("a NULL where none may be")
    return Candidate(
        id=row.id,
        workspace=row.workspace_id,
        run_type=RunType(row.task_type),
        status=Status(row.status),
        pool=row.pool,
        priority=row.priority,
        requested_by=row.requested_by,
    )


def _select_startable() -> sa.Select[Any]:
    """Select pending runs: plans, and the first state-changing run of each workspace that nothing holds."""
    other = runs.alias("other")
    changing = runs.c.task_type.in_(_CHANGING)
    same_kind = sa.and_(
        other.c.workspace_id == runs.c.workspace_id,
        other.c.fence.is_not(None),
        other.c.task_type.in_(_CHANGING),
    )
    active = sa.exists().where(same_kind, other.c.status.in_(sorted(transitions.ACTIVE)))
    ahead = sa.exists().where(
        same_kind,
        other.c.status == Status.PENDING,
        sa.or_(
            other.c.priority > runs.c.priority,
            sa.and_(other.c.priority == runs.c.priority, other.c.id < runs.c.id),
        ),
    )
    locked = sa.exists().where(workspaces.c.name == runs.c.workspace_id, workspaces.c.locked_ms.is_not(None))
    return (
        sa.select(*_CANDIDATE)
        .where(
            runs.c.status == Status.PENDING,
            runs.c.fence.is_not(None),
            sa.or_(~changing, sa.and_(~active, ~ahead, ~locked)),
            runs.c.pool.not_in(freezes.FROZEN_POOLS),
        )
        .order_by(runs.c.priority.desc(), runs.c.id)
        .limit(_LIMIT)
    )


_STARTABLE = _select_startable()
_CONFIRMED = sa.select(*_CANDIDATE).where(
    runs.c.status == Status.CONFIRMED,
    runs.c.fence.is_not(None),
    runs.c.workspace_id.not_in(sa.select(workspaces.c.name).where(workspaces.c.locked_ms.is_not(None))),
    runs.c.pool.not_in(freezes.FROZEN_POOLS),
)
_RUNNING = (
    sa.select(runs.c.workspace_id, runs.c.requested_by, sa.func.count().label("number"))
    .where(runs.c.status.in_(sorted(transitions.QUEUED | transitions.RUNNING)), runs.c.fence.is_not(None))
    .group_by(runs.c.workspace_id, runs.c.requested_by)
)


def confirmed(tx: Transaction) -> list[Candidate]:
    """Return confirmed runs that no slot was chosen for, whose workspace is not locked and whose pool is not frozen."""
    return readable.many(tx, _CONFIRMED, (runs.c.id,), _to_candidate)


def startable(tx: Transaction) -> list[Candidate]:
    """Return pending runs that could start now: plans, and the first state-changing run of each free workspace.

    By priority, then oldest. A person's lock and an active run of the workspace hold state-changing runs only; a freeze
    of the pool holds all.
    """
    return readable.many(tx, _STARTABLE, (runs.c.id,), _to_candidate)


def running_counts(tx: Transaction) -> tuple[Counter[str], Counter[str]]:
    """Count what runs or is queued, by workspace and by caller."""
    by_workspace, by_caller = Counter[str](), Counter[str]()
    for row in tx.execute(_RUNNING):
        by_workspace[row.workspace_id] += row.number
        by_caller[row.requested_by] += row.number
    return by_workspace, by_caller


def active_of(tx: Transaction, workspace: str) -> Run | None:
    """Return the state-changing run of a workspace between `plan_queued` and its end."""
    found = run_rows.listed(tx, workspace=workspace, statuses=transitions.ACTIVE)
    return next((run for run in found if run.run_type.changes_state), None)


def first_pending_of(tx: Transaction, workspace: str) -> Run | None:
    """Return the state-changing run of a workspace that comes next."""
    found = run_rows.listed(tx, workspace=workspace, statuses=[Status.PENDING], newest_first=False)
    changing = (run for run in found if run.run_type.changes_state)
    return min(changing, key=lambda run: (-run.priority, run.id), default=None)
