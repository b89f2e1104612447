"""Alembic's entry: it gets the database's URL from `iacq.store.migrate`, never from a file."""

import sqlalchemy as sa
from alembic import context

from iacq.store import indexes  # noqa: F401 - they belong to the metadata that is compared
from iacq.store.schema import metadata
from iacq.store.session import Database

MIGRATING = 0x69616371
"""Key of PostgreSQL's advisory lock: two processes that start at once migrate one after the other."""

url = context.config.attributes["url"]

if context.is_offline_mode():
    context.configure(url=url, target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    database = Database(url)
    # All of it is one transaction: SQLite's begins with the write lock, and whoever waited finds nothing left to do.
    with database.transaction() as tx:
        if not database.is_sqlite:
            tx.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATING)))
        context.configure(connection=tx.connection, target_metadata=metadata)
        with context.begin_transaction():
            context.run_migrations()
    database.close()
