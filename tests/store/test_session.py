"""Questions and transactions on one connection of PostgreSQL."""

import contextlib
import select
from typing import Any

import pytest
import sqlalchemy as sa

from iacq.errors import Unavailable
from iacq.store import control
from iacq.store.session import ABANDONED, Database, Transaction
from tests.store.world import World
from tests.waiting import wait_until


def driver(tx: Transaction) -> Any:
    return tx.connection.connection.dbapi_connection


def beat_and_fail(tx: Transaction) -> None:
    control.beat(tx)
    raise RuntimeError


def test_a_question_asks_the_server_nothing_more(postgres_world: World) -> None:
    with contextlib.closing(Database(postgres_world.url, pool_size=1)) as database:
        for reading in (True, False, True):
            with database.transaction(reading=reading) as tx:
                control.silences(tx)
                assert driver(tx).autocommit is reading
                assert driver(tx).isolation_level is None  # what was set would be taken back with a statement


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


def _hang_and_go_on(tx: Transaction) -> None:
    tx.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = '1ms'"))
    wait_until(lambda: _ended_by_server(tx), 10, "the server has ended it")
    control.tick(tx)


def _ended_by_server(tx: Transaction) -> bool:
    ready, _, _ = select.select([driver(tx)], [], [], 0)
    return bool(ready)
