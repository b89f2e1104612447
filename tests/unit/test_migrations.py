import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from iacq.errors import Conflict, Unavailable
from iacq.store import inspecting, migrate
from iacq.store.schema import metadata
from iacq.store.session import Database
from tests import servers


def test_the_migrations_lead_to_the_schema(database_url: str) -> None:
    engine = sa.create_engine(database_url)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "version_table": migrate.VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
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


def test_the_statements_can_be_read_instead(postgres_server: servers.Postgres, tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    with postgres_server.database(template="template0") as empty:
        for url in (empty, f"sqlite:///{file}"):
            sql = migrate.upgrade_sql(url)
            for table in metadata.sorted_tables:
                assert f"CREATE TABLE {table.name} " in sql
            assert "CREATE UNIQUE INDEX uq_iacq_one_active_run" in sql
            assert "fence IS NOT NULL" in sql
            assert migrate.VERSION_TABLE in sql
        assert migrate.version(empty) is None
    assert not file.exists(), "nothing was made"


def test_there_are_no_statements_for_a_database_that_is_current(database_url: str) -> None:
    assert migrate.upgrade_sql(database_url) == ""


def test_a_database_of_a_newer_version_is_left_alone(database_url: str) -> None:
    with contextlib.closing(Database(database_url)) as database, database.transaction() as tx:
        tx.execute(sa.text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'"))
    for use in (migrate.upgrade, migrate.upgrade_sql, migrate.is_current, inspecting.look):
        with pytest.raises(Unavailable, match="newer iacq: it has seen migration 9999"):
            use(database_url)


def test_each_migration_says_its_part() -> None:
    script = ScriptDirectory(migrate.SCRIPTS)
    parts = [revision.module.part for revision in script.walk_revisions()]
    assert set(parts) <= {migrate.BEFORE, migrate.AFTER}
    assert parts[-1] == migrate.BEFORE


class TestPairs:
    """A next version, and the one after it, as they will be: what each adds comes before, what it removes after."""

    @pytest.fixture
    def next_versions(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        scripts = tmp_path / "migrations"
        shutil.copytree(migrate.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(migrate, "SCRIPTS", str(scripts))  # a directory of versions that do not exist yet

        def release(number: int) -> None:
            for revision, part in ((2 * number, "before"), (2 * number + 1, "after")):
                (scripts / "versions" / f"000{revision}_{part}.py").write_text(
                    _MIGRATION.format(revision, revision - 1, part)
                )

        return release

    def test_what_removes_waits_until_it_is_asked_for(
        self, database_url: str, next_versions: Callable[[int], None]
    ) -> None:
        next_versions(1)
        assert not migrate.is_current(database_url)
        assert "before_2" in migrate.upgrade_sql(database_url)
        assert not migrate.upgrade(database_url)
        assert (migrate.version(database_url), migrate.newest()) == ("0002", "0003")
        assert migrate.is_current(database_url)
        assert migrate.upgrade_sql(database_url) == ""
        assert "after_3" in migrate.upgrade_sql(database_url, after=True)
        migrate.upgrade(database_url)
        assert migrate.version(database_url) == "0002"
        migrate.upgrade(database_url, after=True)
        assert migrate.version(database_url) == "0003"
        assert migrate.is_current(database_url)

    def test_a_new_database_gets_all_at_once(self, tmp_path: Path, next_versions: Callable[[int], None]) -> None:
        next_versions(1)
        url = f"sqlite:///{tmp_path}/new.db"
        assert migrate.upgrade(url)
        assert migrate.version(url) == "0003"

    def test_versions_are_not_skipped(self, database_url: str, next_versions: Callable[[int], None]) -> None:
        next_versions(1)
        migrate.upgrade(database_url)
        next_versions(2)
        with pytest.raises(Conflict, match="migration 0003 of an earlier version has not been run"):
            migrate.upgrade(database_url)
        assert migrate.version(database_url) == "0002"


_MIGRATION = """
from alembic import op
revision, down_revision, branch_labels, depends_on = "{0:04}", "{1:04}", None, None
part = "{2}"
def upgrade():
    op.execute("CREATE TABLE {2}_{0} (id INTEGER)")
"""


def test_what_is_missing_is_named_and_can_be_made(database_url: str) -> None:
    with contextlib.closing(Database(database_url)) as database:
        with database.transaction() as tx:
            tx.execute(sa.text("DROP INDEX uq_iacq_one_active_run"))
            tx.execute(sa.text("ALTER TABLE iacq_workspaces DROP COLUMN locked_reason"))
        found = inspecting.look(database_url)
        assert set(found.missing) == {
            "column iacq_workspaces.locked_reason",
            "index uq_iacq_one_active_run of workspace_tasks",
        }
        with database.transaction() as tx:
            tx.execute(sa.text(found.repair[0]))
    assert inspecting.look(database_url).missing == ("column iacq_workspaces.locked_reason",)
