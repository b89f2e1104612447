"""Signs of life of control workers, so that a waiting run can say that nobody dispatches."""

from __future__ import annotations

import sqlalchemy as sa

from iacq.store.schema import heartbeats
from iacq.store.session import Transaction

_NAME = "iacq"  # never the name of a pod


def beat(tx: Transaction) -> None:
    """Say that a control worker is there."""
    changed = tx.execute(heartbeats.update().where(heartbeats.c.pod_name == _NAME).values(at_ms=tx.now))
    if changed.rowcount == 0:
        tx.execute(heartbeats.insert().values(pod_name=_NAME, agent_id="control", at_ms=tx.now))


def seen_within(tx: Transaction, *, ms: int) -> bool:
    """Tell whether a control worker did something in the last `ms` milliseconds."""
    found = tx.execute(
        sa.select(heartbeats.c.at_ms).where(heartbeats.c.pod_name == _NAME, heartbeats.c.at_ms >= tx.now - ms)
    ).first()
    return found is not None
