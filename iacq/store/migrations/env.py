"""Alembic's entry: it gets the database's URL from `iacq.store.migrate`, never from a file."""

import contextlib
from typing import Any

import sqlalchemy as sa
from alembic import context

from iacq.store import existing, indexes  # noqa: F401 - indexes belong to the metadata that is compared
from iacq.store.migrate import VERSION_TABLE, version_of
from iacq.store.schema import metadata
from iacq.store.session import Database

MIGRATING = 0x69616371
"""Key of PostgreSQL's advisory lock: two processes that start at once migrate one after the other."""
LOCK_TIMEOUT = "3s"
"""How long an upgrade waits for a table that others use: their next statements wait behind it."""

ALONE = (f"SELECT pg_advisory_xact_lock({MIGRATING})", f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
"""What a migration of PostgreSQL begins with; whoever migrates now may take its time."""

COMMON: dict[str, Any] = {"target_metadata": metadata, "version_table": VERSION_TABLE, "transactional_ddl": True}


def print_statements(url: str) -> None:
    """Write what would be done; who asked has looked at the database."""
    context.configure(url=url, literal_binds=True, existing=context.config.attributes["existing"], **COMMON)
    with context.begin_transaction():
        if context.get_context().dialect.name == "postgresql":
            for statement in ALONE:
                context.execute(statement)
        context.run_migrations()


def migrate(url: str) -> None:
    """Migrate in one transaction: SQLite's begins with the write lock, and whoever waited finds nothing left to do."""
    with contextlib.closing(Database(url, pool_size=1)) as database, database.transaction() as tx:
        if not database.is_sqlite:
            for statement in ALONE:
                tx.execute(sa.text(statement))
        found = existing.find(tx.connection) if version_of(tx.connection) is None else None
        context.configure(connection=tx.connection, existing=found, **COMMON)
        with context.begin_transaction():
            context.run_migrations()
        if found is not None:
            existing.rehearse(tx.connection)


if context.is_offline_mode():
    print_statements(context.config.attributes["url"])
else:
    migrate(context.config.attributes["url"])
