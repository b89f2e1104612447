"""Signs of life of control workers and of beat, so that a waiting run can say that nobody dispatches."""

from __future__ import annotations

import sqlalchemy as sa

from iacq.store.schema import heartbeats
from iacq.store.session import Transaction

_CONTROL = "iacq"  # never the name of a pod
_BEAT = "iacq.beat"  # nor this one: pod names have no dot
NAMES = (_CONTROL, _BEAT)
"""Rows beside those of pods."""


def beat(tx: Transaction) -> None:
    """Say that a control worker is there."""
    _mark(tx, _CONTROL)


def tick(tx: Transaction) -> None:
    """Say that a control worker heard beat."""
    _mark(tx, _BEAT)


def _mark(tx: Transaction, name: str) -> None:
    changed = tx.execute(heartbeats.update().where(heartbeats.c.pod_name == name).values(at_ms=tx.now))
    if changed.rowcount == 0:
        tx.execute(heartbeats.insert().values(pod_name=name, agent_id="control", at_ms=tx.now))


def seen_within(tx: Transaction, *, ms: int) -> bool:
    """Tell whether a control worker did something in the last `ms` milliseconds."""
    age, _ = silences(tx)
    return age is not None and age <= ms


def silences(tx: Transaction) -> tuple[int | None, int | None]:
    """Return the ms since a control worker did something, and since one heard beat; None: never."""
    rows = tx.execute(
        sa.select(heartbeats.c.pod_name, (tx.now - heartbeats.c.at_ms).label("age")).where(
            heartbeats.c.pod_name.in_(NAMES)
        )
    )
    found = {row.pod_name: max(0, row.age) for row in rows}
    return found.get(_CONTROL), found.get(_BEAT)
