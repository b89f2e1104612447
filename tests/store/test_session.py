"""Questions and transactions on one connection of PostgreSQL."""

import contextlib
import select
from typing import Any

import pytest
import sqlalchemy as sa

from iacq.errors import Unavailable
from iacq.store import control, outbox
from iacq.store.schema import heartbeats
from iacq.store.session import ABANDONED, DATABASE_UNAVAILABLE, Database, Transaction
from tests.store.world import World
from tests.waiting import wait_until


def driver(tx: Transaction) -> Any:
    return tx.connection.connection.dbapi_connection


def beat_and_fail(tx: Transaction) -> None:
    control.beat(tx)
    raise RuntimeError


def process(tx: Transaction) -> int:
    """Name the server's process for this connection."""
    return int(driver(tx).info.backend_pid)


def last_words(world: World, of: int) -> str:
    """Return what the server's process is at, and what it heard last."""
    asked = sa.text("SELECT query, state FROM pg_stat_activity WHERE pid = :pid")
    query, state = world.database.read(lambda other: other.execute(asked, {"pid": of}).one())
    return f"{state}: {query.split()[0]}"


def test_a_question_needs_no_transaction(postgres_world: World) -> None:
    with contextlib.closing(Database(postgres_world.url, pool_size=1)) as database:
        for word in ("SELECT", "EXECUTE"):  # at its second use it is prepared
            with database.transaction(reading=True) as tx:
                control.silences(tx)
                server = process(tx)
                assert last_words(postgres_world, server) == f"idle: {word}"
            assert last_words(postgres_world, server) == f"idle: {word}"
            database.run(control.tick)


def test_a_transaction_begins_with_its_first_statement(postgres_world: World) -> None:
    with contextlib.closing(Database(postgres_world.url, pool_size=1)) as database:
        for word in ("SELECT", "EXECUTE"):  # at its second use it is prepared
            with database.transaction() as tx:
                server = process(tx)
                assert last_words(postgres_world, server).startswith("idle:")  # nothing is said for nothing
                control.silences(tx)
                assert last_words(postgres_world, server) == f"idle in transaction: BEGIN;{word}"
                control.silences(tx)
                assert last_words(postgres_world, server) == f"idle in transaction: {word}"
            assert last_words(postgres_world, server) == "idle: COMMIT"


def test_rows_of_several_statements_are_one_transaction(postgres_world: World) -> None:
    """The driver joins them to bytes."""
    rows = [{"of": name} for name in ("one", "two")]
    statement = heartbeats.update().where(heartbeats.c.pod_name == sa.bindparam("of")).values(at_ms=1)
    with contextlib.closing(Database(postgres_world.url, pool_size=1)) as database, database.transaction() as tx:
        tx.execute(statement, rows)
        assert last_words(postgres_world, process(tx)) == "idle in transaction: BEGIN;UPDATE"


def be_seen(tx: Transaction) -> None:
    tx.execute(heartbeats.insert().values(pod_name="pod", agent_id="pod-boot1", at_ms=tx.now))


def test_a_statement_is_a_transaction_by_itself(world: World) -> None:
    with contextlib.closing(Database(world.url, pool_size=1)) as database:
        database.run_statement(be_seen)
        seen = world.database.read(lambda tx: tx.execute(sa.select(heartbeats.c.pod_name)).scalars().all())
        assert seen == ["pod"]


def remove_two(tx: Transaction) -> None:
    outbox.remove(tx, 1)
    outbox.remove(tx, 2)


def test_a_step_of_one_statement_makes_no_other_one(postgres_world: World) -> None:
    """The first one is committed already."""
    with contextlib.closing(Database(postgres_world.url, pool_size=1)) as database:
        with pytest.raises(RuntimeError, match="one statement"):
            database.run_statement(remove_two)
        database.run(remove_two)


def test_a_step_after_a_question_is_a_transaction(world: World) -> None:
    with contextlib.closing(Database(world.url, pool_size=1)) as database:
        assert database.read(control.silences) == (None, None)
        with pytest.raises(RuntimeError):
            database.run(beat_and_fail)
        assert database.read(control.silences) == (None, None)


def test_a_question_of_several_statements_sees_one_moment(world: World) -> None:
    def ask_around_a_change(tx: Transaction) -> bool:
        before = control.silences(tx)
        world.database.run(control.beat)
        return control.silences(tx) == before

    with contextlib.closing(Database(world.url, pool_size=1)) as database:
        assert database.read_at_once(ask_around_a_change)


def test_a_transaction_whose_process_hangs_gives_its_locks_back(postgres_world: World) -> None:
    """As one on a machine that is cut off: the server ends it by itself."""
    database = postgres_world.database
    with database.transaction(reading=True) as tx:
        assert tx.execute(sa.text("SHOW idle_in_transaction_session_timeout")).scalar_one() == ABANDONED
    with pytest.raises(Unavailable, match=r"closed the connection|idle-in-transaction"):
        database.run(_hang_and_go_on)
    database.run(control.tick)  # another connection


@pytest.mark.parametrize("change", ["step", "statement", "lock"])
def test_a_server_that_takes_no_changes_is_away(postgres_world: World, change: str) -> None:
    """As for those that are still connected to what was the primary before a fail-over."""
    with contextlib.closing(Database(postgres_world.url, pool_size=1)) as database:
        do = {
            "step": lambda: database.run(control.beat),
            "statement": lambda: database.run_statement(be_seen),
            "lock": lambda: database.read(lambda tx: tx.execute(sa.select(heartbeats).with_for_update()).all()),
        }[change]
        with database.transaction(reading=True) as tx:
            tx.execute(sa.text("SET default_transaction_read_only = on"))
        with pytest.raises(Unavailable, match="takes no changes") as raised:
            do()
        assert raised.value.code == DATABASE_UNAVAILABLE
        do()  # another connection, which may reach the new one


def _hang_and_go_on(tx: Transaction) -> None:
    tx.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = '1ms'"))
    wait_until(lambda: _ended_by_server(tx), 10, "the server has ended it")
    control.tick(tx)


def _ended_by_server(tx: Transaction) -> bool:
    ready, _, _ = select.select([driver(tx)], [], [], 0)
    return bool(ready)
