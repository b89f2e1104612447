"""A PostgreSQL database whose `workspace_tasks` was there before iacq, with somebody's rows, triggers and keys."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from iacq.domain.run import Status
from iacq.errors import InvalidInput, Unavailable
from iacq.services import dispatching, recovering, views
from iacq.store import existing, inspecting, migrate, runs
from iacq.store.protocol import owning, restoring
from iacq.testing.core import make_core
from tests import servers
from tests.store.world import World

PLAIN = """
CREATE TABLE workspace_tasks (
    id serial PRIMARY KEY, workspace_id varchar(50), task_type varchar(20), status varchar(20), agent_id varchar(50),
    plan_task_id integer, plan_output text, apply_output text,
    created_at timestamp, started_at timestamp, completed_at timestamp, updated_at timestamp
);
"""
STRICT = """
CREATE TABLE workspace_tasks (
    id bigserial PRIMARY KEY, workspace_id varchar(64) NOT NULL, task_type text NOT NULL,
    status varchar(20) NOT NULL DEFAULT 'pending', agent_id varchar(50) NOT NULL DEFAULT '',
    plan_task_id integer REFERENCES workspace_tasks (id), plan_output text NOT NULL DEFAULT '', apply_output text,
    created_at timestamp NOT NULL DEFAULT now(), started_at timestamp, completed_at timestamp,
    updated_at timestamp NOT NULL DEFAULT now(),
    plan_hash varchar(64), warmup_status varchar(20) NOT NULL, warmup_retry_count integer NOT NULL
);
ALTER TABLE workspace_tasks ALTER COLUMN warmup_status SET DEFAULT 'none';
ALTER TABLE workspace_tasks ALTER COLUMN warmup_retry_count SET DEFAULT 0;
CREATE INDEX idx_workspace_tasks_plan_hash ON workspace_tasks (plan_hash);
SELECT setval('workspace_tasks_id_seq', 3000000000);
"""
IDENTITY = PLAIN.replace("id serial", "id integer GENERATED ALWAYS AS IDENTITY")
AROUND = """
CREATE INDEX ix_status ON workspace_tasks (status, workspace_id);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON workspace_tasks FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TABLE task_comments (task_id integer REFERENCES workspace_tasks (id) ON DELETE CASCADE, text text);
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('5f2d77c0b1aa');
"""
INSERT = """
INSERT INTO workspace_tasks (workspace_id, task_type, status, agent_id, plan_output, created_at, updated_at)
SELECT 'network', kind, status, 'agent-1', repeat('x', 3000), now(), now()
  FROM unnest(ARRAY['pending', 'running', 'applied', 'success', 'waiting', 'failed']) status,
       unnest(ARRAY['plan', 'apply', 'destroy', 'plan_and_apply']) kind
"""
READ = """
SELECT id, workspace_id, task_type, status, agent_id, plan_task_id, plan_output, apply_output, created_at, started_at,
       completed_at FROM workspace_tasks WHERE plan_output <> '' ORDER BY id
"""
OF_THEIRS = "SELECT ctid::text, xmin::text, " + READ.strip().removeprefix("SELECT ")
DEFINITIONS = """
SELECT 'column', column_name::text, concat_ws(' ', data_type, character_maximum_length, is_nullable, column_default)
  FROM information_schema.columns WHERE table_name = 'workspace_tasks'
UNION ALL SELECT 'index', indexname::text, indexdef FROM pg_indexes WHERE tablename = 'workspace_tasks'
UNION ALL SELECT 'trigger', tgname::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'constraint', conname::text, pg_get_constraintdef(oid) FROM pg_constraint
           WHERE conrelid IN ('workspace_tasks'::regclass, 'task_comments'::regclass)
UNION ALL SELECT 'table', tablename::text, '' FROM pg_tables WHERE schemaname = 'public'
"""
COLUMNS = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"


@dataclass
class Platform:
    """Whoever had the table first."""

    url: str
    engine: sa.Engine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = sa.create_engine(self.url)

    def do(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(question)]


@pytest.fixture
def platform(postgres_server: servers.Postgres) -> Iterator[Platform]:
    with postgres_server.database(template="template0") as url:
        made = Platform(url)
        yield made
        made.engine.dispose()


def run_as_printed(platform: Platform) -> None:
    """As psql would: each statement as it is, in the transaction that they begin themselves."""
    text = migrate.upgrade_sql(platform.url)
    connection = platform.engine.raw_connection()
    connection.driver_connection.autocommit = True
    connection.cursor().execute(text)
    connection.close()


@pytest.mark.parametrize("upgrade", [lambda platform: migrate.upgrade(platform.url), run_as_printed])
@pytest.mark.parametrize("table", [PLAIN, STRICT, IDENTITY], ids=["plain", "strict", "identity"])
def test_the_table_gets_what_it_lacks_and_nothing_of_it_changes(
    platform: Platform, table: str, upgrade: Callable[[Platform], None]
) -> None:
    platform.do(table, AROUND, INSERT)
    rows, definitions = platform.ask(OF_THEIRS), set(platform.ask(DEFINITIONS))
    upgrade(platform)
    assert platform.ask(OF_THEIRS) == rows, "not even written anew: same place, same transaction"
    assert set(platform.ask(DEFINITIONS)) >= definitions
    assert inspecting.look(platform.url) == inspecting.Findings(
        version=migrate.newest(), required=migrate.required(), newest=migrate.newest(), current=True, foreign_rows=24
    )
    assert platform.ask("SELECT version_num FROM alembic_version") == [("5f2d77c0b1aa",)]
    after = set(platform.ask(DEFINITIONS))
    migrate.upgrade(platform.url)
    assert set(platform.ask(DEFINITIONS)) == after
    not_ours = {name for kind, name, text in after - definitions if kind == "column" and " NO" in text}
    assert not_ours == set(), "a column that is added may be NULL"


def test_the_statements_are_those_that_are_needed_there(platform: Platform) -> None:
    platform.do(STRICT)
    before = platform.ask(COLUMNS)
    sql = migrate.upgrade_sql(platform.url)
    assert "CREATE TABLE workspace_tasks" not in sql
    assert "ADD COLUMN plan_hash" not in sql
    assert "CREATE INDEX idx_workspace_tasks_plan_hash" not in sql
    assert "ALTER TABLE workspace_tasks ADD COLUMN fence INTEGER;" in sql
    assert "pg_advisory_xact_lock" in sql
    assert "SET LOCAL lock_timeout" in sql
    assert platform.ask(COLUMNS) == before, "only printed"


@pytest.mark.parametrize("table", [PLAIN, STRICT], ids=["plain", "strict"])
def test_both_live_in_the_table_side_by_side(platform: Platform, table: str, tmp_path: Any) -> None:
    """iacq's runs go their way, the platform's statements work, and iacq sees and touches none of its rows."""
    platform.do(table, AROUND, INSERT)
    migrate.upgrade(platform.url)
    theirs = platform.ask(OF_THEIRS)
    with contextlib.closing(World(platform.url)) as world:
        world.pod()
        run = world.with_effects()
        applied = world.do(owning.finish_apply, world.hold(run), Status.APPLIED)
        waiting = world.at(Status.APPLY_PENDING)
        world.check()
        foreign = theirs[0][2]
        assert world.database.read(runs.get, foreign) is None
        assert [found.id for found in world.database.read(runs.listed)] == [waiting.id, applied.id]
        core = make_core(platform.url, tmp_path, clock=world.clock)
        with contextlib.closing(core.database):
            assert [found.id for found, _ in views.queue(core)] == [waiting.id]
            world.clock.advance(86_400 * 30)
            assert dispatching.dispatch(core) == 0
            assert recovering.expire_plans(core) == 1
            recovering.check_agents(core)
            recovering.recover(core, recovering.LeaseWatch())
    assert [row for row in platform.ask(OF_THEIRS) if row[6] == "agent-1"] == theirs
    platform.do(
        INSERT,
        "UPDATE workspace_tasks SET status = 'running', started_at = now() WHERE status = 'waiting'",
        f"INSERT INTO task_comments VALUES ({foreign}, 'x')" if table is PLAIN else "SELECT 1",
        "DELETE FROM workspace_tasks WHERE status = 'running'",
    )
    assert len([row for row in platform.ask(READ) if row[4] == "agent-1"]) == 2 * 16
    with pytest.raises(IntegrityError, match="ck_workspace_tasks_status"):
        platform.do(f"UPDATE workspace_tasks SET status = 'running' WHERE id = {waiting.id}")


BAD = {
    "id uuid": (PLAIN.replace("id serial", "id uuid DEFAULT gen_random_uuid()"), "id", "UUID"),
    "id smallint": (PLAIN.replace("id serial", "id smallserial"), "id", "SMALLINT"),
    "no id": (PLAIN.replace("id serial PRIMARY KEY, ", ""), "id", "no column id"),
    "id is no key": (PLAIN.replace("PRIMARY KEY", ""), "id", "neither the primary key nor unique"),
    "id without a sequence": (PLAIN.replace("id serial", "id integer"), "id", "no number by itself"),
    "time zone": (PLAIN.replace("created_at timestamp", "created_at timestamptz"), "created_at", "TIMESTAMP"),
    "short": (PLAIN.replace("workspace_id varchar(50)", "workspace_id varchar(20)"), "workspace_id", r"VARCHAR\(20\)"),
    "padded": (PLAIN.replace("status varchar(20)", "status char(20)"), "status", "CHAR"),
    "enumerated": (
        "CREATE TYPE st AS ENUM ('pending');" + PLAIN.replace("status varchar(20)", "status st"),
        "status",
        "st",
    ),
    "a column that iacq knows": (PLAIN.replace("agent_id", "priority text, agent_id"), "priority", "TEXT"),
    "its mark": (PLAIN.replace("agent_id", "fence integer, agent_id"), "fence", "tells its own rows"),
    "cleared": (
        PLAIN.replace("agent_id", "warmup_agent_id varchar(50) NOT NULL DEFAULT '', agent_id"),
        "warmup_agent_id",
        "writes NULL",
    ),
    "not null": (PLAIN.replace("plan_output text", "plan_output text NOT NULL"), "plan_output", "NOT NULL without"),
}


@pytest.fixture(scope="module")
def empty(postgres_server: servers.Postgres) -> Iterator[sa.Engine]:
    with postgres_server.database(template="template0") as url:
        engine = sa.create_engine(url)
        yield engine
        engine.dispose()


@pytest.mark.parametrize(("table", "column", "said"), BAD.values(), ids=BAD)
def test_a_column_that_does_not_fit_is_named(empty: sa.Engine, table: str, column: str, said: str) -> None:
    with empty.connect() as connection:  # never committed
        connection.exec_driver_sql(table)
        with pytest.raises(InvalidInput, match=said) as caught:
            existing.find(connection)
        assert caught.value.field == f"workspace_tasks.{column}"


def test_a_table_that_does_not_fit_is_left_as_it_is(platform: Platform) -> None:
    platform.do(BAD["id uuid"][0])
    before = platform.ask(COLUMNS)
    for use in (migrate.upgrade_sql, migrate.upgrade):
        with pytest.raises(InvalidInput, match="column id is UUID, iacq needs INTEGER"):
            use(platform.url)
    assert platform.ask(COLUMNS) == before


def test_a_view_is_refused(platform: Platform) -> None:
    platform.do(PLAIN.replace("workspace_tasks", "tasks"), "CREATE VIEW workspace_tasks AS SELECT * FROM tasks")
    with pytest.raises(InvalidInput, match="no ordinary table"):
        migrate.upgrade(platform.url)


def test_a_constraint_of_theirs_that_iacqs_rows_would_break_is_found(platform: Platform) -> None:
    platform.do(PLAIN, "ALTER TABLE workspace_tasks ADD CONSTRAINT known CHECK (status IN ('pending', 'running'))")
    with pytest.raises(InvalidInput, match=r'status plan_queued.*"known"'):
        migrate.upgrade(platform.url)
    assert platform.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("workspace_tasks",)]


def test_a_table_in_use_is_not_waited_for_long(platform: Platform) -> None:
    name = platform.ask("SELECT current_database()")[0][0]
    platform.do(PLAIN, f"ALTER DATABASE {name} SET statement_timeout = '20s'")  # this test ends, whatever happens
    with platform.engine.begin() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM workspace_tasks")
        with pytest.raises(Unavailable) as caught:
            migrate.upgrade(platform.url)
    assert caught.value.code == "database_in_use"
    migrate.upgrade(platform.url)


def test_whoever_does_not_own_the_table_is_told(platform: Platform, request: pytest.FixtureRequest) -> None:
    platform.do(PLAIN, "CREATE ROLE clerk LOGIN PASSWORD 'x'", "GRANT ALL ON SCHEMA public TO clerk")
    platform.do("GRANT ALL ON workspace_tasks TO clerk")
    request.addfinalizer(lambda: platform.do("DROP OWNED BY clerk", "DROP ROLE clerk"))
    url = sa.engine.make_url(platform.url).set(username="clerk", password="x").render_as_string(hide_password=False)
    with pytest.raises(Unavailable, match="must be owner") as caught:
        migrate.upgrade(url)
    assert caught.value.code == "not_allowed"


UNOWNED = "CREATE SEQUENCE numbers;" + PLAIN.replace("id serial", "id integer DEFAULT nextval('numbers')")
COMPUTED = "CREATE FUNCTION number() RETURNS integer LANGUAGE sql AS 'SELECT 7';" + PLAIN.replace(
    "id serial", "id integer DEFAULT number()"
)


@pytest.mark.parametrize("table", [PLAIN, STRICT, IDENTITY, UNOWNED], ids=["serial", "big", "identity", "unowned"])
def test_after_a_restore_ids_go_on_behind_all_that_were_used(platform: Platform, table: str) -> None:
    platform.do(table, INSERT)
    migrate.upgrade(platform.url)
    last = max(row[0] for row in platform.ask(READ))
    with contextlib.closing(World(platform.url)) as world:
        after = world.do(restoring.skip_run_ids)
        assert after >= last + restoring.STEP
        assert world.enqueue().id == after + 1


def test_ids_that_come_from_no_sequence_are_not_raised(platform: Platform) -> None:
    platform.do(COMPUTED)
    migrate.upgrade(platform.url)
    with contextlib.closing(World(platform.url)) as world:
        assert world.do(restoring.skip_run_ids) is None


def test_two_upgrades_at_once(platform: Platform) -> None:
    platform.do(PLAIN, INSERT)
    environment = {**os.environ, "IACQ_DATABASE_URL": platform.url}
    words = [sys.executable, "-P", "-m", "iacq.cli", "db", "upgrade"]
    both = [subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(process.communicate(timeout=300)[1], process.returncode) for process in both]
    assert ended == [("", 0), ("", 0)]
    assert inspecting.look(platform.url).missing == ()


def test_an_sqlite_file_of_somebody_else_is_refused(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/theirs.db"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE workspace_tasks (id integer PRIMARY KEY, status varchar(20))")
    engine.dispose()
    with pytest.raises(InvalidInput, match="did not make"):
        migrate.upgrade(url)
