"""Who changed what freezes a pool, and when it was frozen: kept for whoever asks later."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from iacq.store import readable
from iacq.store.schema import freeze_events
from iacq.store.session import Transaction


class Action(enum.StrEnum):
    """What happened."""

    ADDED = "window_added"
    REMOVED = "window_removed"
    FROZEN = "frozen_by_hand"
    LIFTED = "lifted"
    BYPASSED = "bypassed"
    ENTERED = "entered"  # the pool was marked frozen
    LEFT = "left"


@dataclass(frozen=True, kw_only=True)
class FreezeEvent:
    """One of these."""

    pool: str
    at: int  # ms
    action: Action
    by: str | None  # None: the clock
    reason: str | None
    details: str | None  # the window, or until when


def record(
    tx: Transaction,
    pool: str,
    action: Action,
    *,
    by: str | None = None,
    reason: str | None = None,
    details: str | None = None,
) -> None:
    """Keep what happened."""
    values = {"pool": pool, "action": action, "by": by, "reason": reason, "details": details}
    tx.execute(freeze_events.insert().values(at_ms=tx.now, **values))


def newest(tx: Transaction, pool: str, *, limit: int) -> list[FreezeEvent]:
    """Return what happened last to a pool, oldest first."""
    of_pool = sa.select(freeze_events).where(freeze_events.c.pool == pool)
    wanted = of_pool.order_by(freeze_events.c.id.desc()).limit(limit)
    return readable.many(tx, wanted, (freeze_events.c.id,), _to_event)[::-1]


def _to_event(row: sa.Row[Any]) -> FreezeEvent:
    return FreezeEvent(
        pool=row.pool,
        at=row.at_ms,
        action=Action(row.action),
        by=row.by,
        reason=row.reason,
        details=row.details,
    )
