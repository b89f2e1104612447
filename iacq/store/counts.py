"""How many there are now, in a few statements."""

from __future__ import annotations

import sqlalchemy as sa

from iacq.domain.slot import Closed, PodStatus, SlotStatus
from iacq.store.schema import outbox, pods, runs, slots
from iacq.store.session import Transaction
from iacq.store.startable import is_unended

Pairs = dict[tuple[str, ...], float]
_TIMEOUT = sa.text("SET LOCAL statement_timeout = 5000")


def bound_statements(tx: Transaction) -> None:
    """Let no statement of this transaction take longer than 5 s, where the database can see to that."""
    if tx.connection.dialect.name == "postgresql":
        tx.execute(_TIMEOUT)


def now_ms(tx: Transaction) -> int:
    """Return the database's clock."""
    return int(tx.execute(sa.select(tx.now)).scalar_one())


def pods_by_status(tx: Transaction) -> Pairs:
    """Count pods by pool and status."""
    return _pairs(tx, pods.c.pool, pods.c.status)


def slots_by_status(tx: Transaction) -> Pairs:
    """Count slots by pool and status."""
    return _pairs(tx, slots.c.pool, slots.c.status)


def starting(tx: Transaction) -> dict[str, tuple[int, str | None]]:
    """Return by pool the pod that starts for longest: since when, ms, and what keeps it from running, if known."""
    rows = tx.execute(
        sa.select(pods.c.pool, pods.c.created_ms, pods.c.reason)
        .where(pods.c.status == PodStatus.STARTING)
        .order_by(pods.c.created_ms.desc())
    )
    return {row.pool: (row.created_ms, row.reason) for row in rows}


def closed_slots(tx: Transaction) -> Pairs:
    """Count the slots that get no work by pool and reason."""
    return _pairs(tx, slots.c.pool, slots.c.closed, slots.c.closed.is_not(None))


def full_slots(tx: Transaction) -> dict[str, int]:
    """Count by pool the idle slots that get no work because the disk of their pod is full."""
    full = sa.and_(slots.c.closed == Closed.DISK_FULL, slots.c.status == SlotStatus.IDLE)
    number = sa.select(slots.c.pool, sa.func.count().label("number")).where(full).group_by(slots.c.pool)
    return {row.pool: row.number for row in tx.execute(number)}


def unended_runs(tx: Transaction) -> int:
    """Count the runs that have not ended."""
    return int(tx.execute(sa.select(sa.func.count()).select_from(runs).where(sa.text(is_unended()))).scalar_one())


def bells(tx: Transaction) -> tuple[int, int]:
    """Return how many doorbells wait for their claim, and the age of the oldest in ms."""
    oldest = (tx.now - sa.func.min(outbox.c.created_ms)).label("oldest")
    row = tx.execute(sa.select(sa.func.count().label("number"), oldest).select_from(outbox)).one()
    return row.number, max(0, row.oldest or 0)


def _pairs(
    tx: Transaction, first: sa.Column[str], second: sa.Column[str], where: sa.ColumnElement[bool] | None = None
) -> Pairs:
    statement = sa.select(first.label("one"), second.label("two"), sa.func.count().label("number")).group_by(
        first, second
    )
    rows = tx.execute(statement if where is None else statement.where(where))
    return {(row.one, row.two): row.number for row in rows}
