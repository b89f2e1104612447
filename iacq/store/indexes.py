"""The indexes of the tables. Only migrations import this: conditions of indexes make SQLAlchemy load whole dialects.

The unique ones are part of the protocol: one active state-changing run per workspace, one run per idempotency key.
"""

from __future__ import annotations

import sqlalchemy as sa

from iacq.domain import transitions
from iacq.store.schema import events, is_in, runs, slots
from iacq.store.slots import IS_FREE
from iacq.store.startable import CHANGING, PLANS, is_active, is_pending, is_unended
from iacq.store.totals import UNTALLIED

sa.Index("idx_workspace_tasks_plan_hash", runs.c.plan_hash)
sa.Index("idx_workspace_tasks_warmup_agent", runs.c.warmup_agent_id, runs.c.warmup_status)
sa.Index(
    "idx_workspace_tasks_apply_pending_warmup",
    runs.c.status,
    runs.c.warmup_status,
    runs.c.warmup_expires_at,
    sqlite_where=sa.text("status = 'apply_pending'"),
    postgresql_where=sa.text("status = 'apply_pending'"),
)


def _partial(name: str, columns: list[sa.ColumnElement[object]], where: str, *, unique: bool) -> None:
    condition = sa.text(where)
    sa.Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


_OURS = "fence IS NOT NULL AND"
_partial("uq_iacq_one_active_run", [runs.c.workspace_id], is_active(), unique=True)
_partial(
    "uq_iacq_idempotency_key",
    [runs.c.workspace_id, runs.c.idempotency_key],
    f"{_OURS} idempotency_key IS NOT NULL",
    unique=True,
)
_partial(
    "ix_iacq_unended",
    [runs.c.status, runs.c.priority, runs.c.id],
    is_unended(),
    unique=False,
)
_FIRST = [runs.c.priority.desc(), runs.c.id]
_partial("ix_iacq_pending_pool", [runs.c.pool, runs.c.task_type, *_FIRST], is_pending(), unique=False)
_partial(
    "ix_iacq_pending_workspace", [runs.c.pool, runs.c.workspace_id, *_FIRST], is_pending("", *CHANGING), unique=False
)
_partial(
    "ix_iacq_pending_caller",
    [runs.c.pool, runs.c.requested_by, runs.c.workspace_id, *_FIRST],
    is_pending("", *PLANS),
    unique=False,
)
_partial("ix_iacq_untallied", [runs.c.id], f"{_OURS} {UNTALLIED}", unique=False)
_partial("ix_iacq_ended", [runs.c.completed_ms], f"{_OURS} {is_in('status', transitions.ENDED)}", unique=False)
_partial("ix_iacq_workspace", [runs.c.workspace_id, runs.c.id], f"{_OURS} status IS NOT NULL", unique=False)
sa.Index("ix_iacq_slots_pool", slots.c.pool, slots.c.status)
sa.Index(
    "ix_iacq_slots_free",
    slots.c.pool,
    slots.c.pod_name,
    sqlite_where=sa.text(IS_FREE),
    postgresql_where=sa.text(IS_FREE),
)
sa.Index(
    "ix_iacq_setbacks",
    events.c.cause,
    sqlite_where=sa.text(is_in("cause", transitions.SETBACKS)),
    postgresql_where=sa.text(is_in("cause", transitions.SETBACKS)),
)
