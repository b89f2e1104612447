"""One database of each kind for all tests of the store; emptied before each, with rows in it that are not iacq's."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from iacq.domain.run import Status
from iacq.services.core import Core
from iacq.store import prepared
from iacq.store.schema import metadata
from iacq.store.schema import runs as run_table
from iacq.store.session import Database
from iacq.testing.core import make_core
from tests import servers
from tests.conftest import migrate
from tests.store.world import Rows, World


@pytest.fixture(scope="session", autouse=True)
def prepare_at_once() -> Iterator[None]:
    """Have every statement of the store that is used twice run as a prepared one too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "USES", 1)
        yield


@pytest.fixture(scope="session")
def store_urls(postgres_server: servers.Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    sqlite = f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db"
    migrate(sqlite)
    with postgres_server.database() as postgres:
        yield {"sqlite": sqlite, "postgresql": postgres}


@pytest.fixture(scope="session")
def store_worlds(store_urls: dict[str, str]) -> Iterator[dict[str, World]]:
    with contextlib.ExitStack() as stack:
        worlds = {name: stack.enter_context(contextlib.closing(World(url))) for name, url in store_urls.items()}
        for world in worlds.values():
            world.foreign = _insert_foreign(world.database)
        yield worlds


def _world(worlds: dict[str, World], kind: str) -> Iterator[World]:
    world = worlds[kind]
    empty(world.database)
    yield world
    assert _foreign(world.database) == world.foreign, "a row that iacq did not write was changed"


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, store_worlds: dict[str, World]) -> Iterator[World]:
    """An empty world, once on each kind of database."""
    yield from _world(store_worlds, request.param)


@pytest.fixture
def sqlite_world(store_worlds: dict[str, World]) -> Iterator[World]:
    """An empty world on SQLite, whose plans do not depend on what is in it."""
    yield from _world(store_worlds, "sqlite")


@pytest.fixture
def postgres_world(store_worlds: dict[str, World]) -> Iterator[World]:
    """An empty world on PostgreSQL, where one statement can wait for the lock of another."""
    yield from _world(store_worlds, "postgresql")


@pytest.fixture
def core(world: World, tmp_path: Path) -> Iterator[Core]:
    """Services on that world's database and clock."""
    made = make_core(world.url, tmp_path, clock=world.clock)
    yield made
    made.database.close()


def empty(database: Database) -> None:
    with database.transaction() as tx:
        for table in reversed(metadata.sorted_tables):
            tx.execute(table.delete() if table is not run_table else table.delete().where(table.c.fence.is_not(None)))


def _insert_foreign(database: Database) -> Rows:
    """As tempting as can be: expired, unclaimed, of the same workspace."""
    with database.transaction() as tx:
        for status in [*Status, "somebody-elses"]:
            tx.execute(
                run_table.insert().values(
                    workspace_id="network",
                    task_type="plan_and_apply",
                    status=str(status),
                    lease_until=1,
                    expires_ms=1,
                    attempt=0,
                    tries=0,
                    pool="default",
                    priority=100,
                    idempotency_key="deploy-1",
                    effects_fence=1,
                    plan_hash="ab" * 32,
                )
            )
    return _foreign(database)


def _foreign(database: Database) -> Rows:
    statement = sa.select(run_table).where(run_table.c.fence.is_(None)).order_by(run_table.c.id)
    with database.transaction(reading=True) as tx:
        return [tuple(row) for row in tx.execute(statement)]
