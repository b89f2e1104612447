"""A known text under each key that seals: whoever opens them all can read what is stored."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from iacq.store.schema import key_checks
from iacq.store.session import Transaction


def listed(tx: Transaction) -> dict[int, bytes]:
    """Return number → sealed text, in the order in which keys came into use."""
    rows = tx.execute(sa.select(key_checks).order_by(key_checks.c.number))
    return {row.number: bytes(row.sealed) for row in rows}


def add(tx: Transaction, number: int, sealed: bytes) -> None:
    """Add one. Of two processes that take the same number, the second violates the primary key."""
    tx.execute(key_checks.insert().values(number=number, sealed=sealed, created_ms=tx.now))


def forget(tx: Transaction, numbers: Collection[int]) -> None:
    """Remove those of keys that seal nothing any more."""
    tx.execute(key_checks.delete().where(key_checks.c.number.in_(numbers)))
