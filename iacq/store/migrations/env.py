"""Alembic's entry: it gets the database's URL from `iacq.store.migrate`, never from a file."""

import sqlalchemy as sa
from alembic import context

from iacq.store.schema import metadata

url = context.config.attributes["url"]

if context.is_offline_mode():
    context.configure(url=url, target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
