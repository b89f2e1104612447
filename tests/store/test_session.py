"""Questions and transactions on one connection of PostgreSQL."""

import contextlib
from typing import Any

import pytest

from iacq.store import control
from iacq.store.session import Database, Transaction
from tests.store.world import World


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
