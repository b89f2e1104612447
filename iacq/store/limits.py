"""What the database allows."""

from __future__ import annotations

import sqlalchemy as sa

from iacq.store.session import Transaction


def connections(tx: Transaction) -> int | None:
    """Return how many connections PostgreSQL gives to others than its administrators; None: SQLite, no limit."""
    if tx.connection.dialect.name != "postgresql":
        return None
    asked = "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    return int(tx.execute(sa.select(sa.literal_column(asked))).scalar_one())
