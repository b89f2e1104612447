from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from iacq.store import migrate
from iacq.store.schema import metadata


def test_the_migrations_lead_to_the_schema(database_url: str) -> None:
    engine = sa.create_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, metadata)
    engine.dispose()
    assert differences == []


def test_constraints_and_conditions_of_indexes_are_the_schemas(database_url: str) -> None:
    """alembic compares neither CHECK constraints nor the WHERE of an index: they are as made from the schema."""
    engine = sa.create_engine(database_url)
    migrated = _described(engine)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    assert migrated == _described(engine)
    engine.dispose()


def _described(engine: sa.Engine) -> dict[str, object]:
    inspector = sa.inspect(engine)
    return {
        table.name: (
            sorted((check["name"], check["sqltext"]) for check in inspector.get_check_constraints(table.name)),
            sorted(
                (index["name"], index["unique"], index["column_names"], _condition(index))
                for index in inspector.get_indexes(table.name)
            ),
            sorted(
                (tuple(key["constrained_columns"]), key["referred_table"])
                for key in inspector.get_foreign_keys(table.name)
            ),
            inspector.get_pk_constraint(table.name)["constrained_columns"],
        )
        for table in metadata.sorted_tables
    }


def _condition(index: Any) -> dict[str, str]:
    return {name: str(value) for name, value in index.get("dialect_options", {}).items()}


def test_a_migrated_database_is_current_and_may_be_migrated_again(database_url: str) -> None:
    assert migrate.is_current(database_url)
    migrate.upgrade(database_url)
    assert migrate.is_current(database_url)


def test_an_empty_database_is_not_current(tmp_path: object) -> None:
    url = f"sqlite:///{tmp_path}/empty.db"
    assert not migrate.is_current(url)
    migrate.upgrade(url)
    assert migrate.is_current(url)


def test_the_statements_can_be_read_instead(database_url: str) -> None:
    sql = migrate.upgrade_sql(database_url)
    for table in metadata.sorted_tables:
        assert f"CREATE TABLE {table.name} " in sql
    assert "CREATE UNIQUE INDEX uq_iacq_one_active_run" in sql
    assert "fence IS NOT NULL" in sql
    assert "alembic_version" in sql
