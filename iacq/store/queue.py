"""What could start now, and what a waiting run waits for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from iacq.domain import transitions
from iacq.domain.run import Run, RunType, Status
from iacq.store import runs as run_rows
from iacq.store.schema import runs, workspaces
from iacq.store.session import Transaction

_CHANGING = [kind for kind in RunType if kind.changes_state]


def confirmed(tx: Transaction) -> list[Run]:
    """Return confirmed runs that no slot was chosen for, whose workspace is not locked."""
    locked = sa.select(workspaces.c.name).where(workspaces.c.locked_ms.is_not(None))
    ids = tx.execute(
        sa.select(runs.c.id).where(
            runs.c.status == Status.CONFIRMED, runs.c.fence.is_not(None), runs.c.workspace_id.not_in(locked)
        )
    ).scalars()
    return _load(tx, list(ids))


def startable(tx: Transaction, *, limit: int = 200) -> list[Run]:
    """Return pending runs that could start now: plans, and the first state-changing run of each free workspace.

    By priority, then oldest. A person's lock and an active run of the workspace hold state-changing runs only.
    """
    other = runs.alias("other")
    changing = runs.c.task_type.in_(_CHANGING)
    same_kind = sa.and_(
        other.c.workspace_id == runs.c.workspace_id,
        other.c.fence.is_not(None),
        other.c.task_type.in_(_CHANGING),
    )
    active = sa.exists().where(same_kind, other.c.status.in_(list(transitions.ACTIVE)))
    ahead = sa.exists().where(
        same_kind,
        other.c.status == Status.PENDING,
        sa.or_(
            other.c.priority > runs.c.priority,
            sa.and_(other.c.priority == runs.c.priority, other.c.id < runs.c.id),
        ),
    )
    locked = sa.exists().where(workspaces.c.name == runs.c.workspace_id, workspaces.c.locked_ms.is_not(None))
    ids = tx.execute(
        sa.select(runs.c.id)
        .where(
            runs.c.status == Status.PENDING,
            runs.c.fence.is_not(None),
            sa.or_(~changing, sa.and_(~active, ~ahead, ~locked)),
        )
        .order_by(runs.c.priority.desc(), runs.c.id)
        .limit(limit)
    ).scalars()
    return _load(tx, list(ids))


def _load(tx: Transaction, ids: list[int]) -> list[Run]:
    found = {run.id: run for run in run_rows.among(tx, ids)}
    return [found[run_id] for run_id in ids if run_id in found]


def running_counts(tx: Transaction) -> tuple[dict[str, int], dict[str, int]]:
    """Count what runs or is queued, by workspace and by caller."""
    busy = sa.and_(runs.c.status.in_(list(transitions.QUEUED | transitions.RUNNING)), runs.c.fence.is_not(None))
    by_workspace = tx.execute(sa.select(runs.c.workspace_id, sa.func.count()).where(busy).group_by(runs.c.workspace_id))
    by_caller = tx.execute(sa.select(runs.c.requested_by, sa.func.count()).where(busy).group_by(runs.c.requested_by))
    return _as_dict(by_workspace), _as_dict(by_caller)


def _as_dict(rows: Iterable[Any]) -> dict[str, int]:
    return {name: number for name, number in rows}  # noqa: C416 - dict() takes a result for a mapping: it has keys()


def active_of(tx: Transaction, workspace: str) -> Run | None:
    """Return the state-changing run of a workspace between `plan_queued` and its end."""
    found = run_rows.listed(tx, workspace=workspace, statuses=transitions.ACTIVE)
    return next((run for run in found if run.run_type.changes_state), None)


def first_pending_of(tx: Transaction, workspace: str) -> Run | None:
    """Return the state-changing run of a workspace that comes next."""
    found = run_rows.listed(tx, workspace=workspace, statuses=[Status.PENDING], newest_first=False)
    changing = (run for run in found if run.run_type.changes_state)
    return min(changing, key=lambda run: (-run.priority, run.id), default=None)
