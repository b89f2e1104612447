"""Statements that a connection of PostgreSQL keeps prepared."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from iacq.errors import Unavailable
from iacq.store import prepared
from iacq.store.session import Database, Transaction
from tests.proxy import Proxy
from tests.store.world import World

TWICE = sa.text("SELECT CAST(:number AS double precision) * 2")
PREPARED = sa.text("SELECT statement FROM pg_prepared_statements ORDER BY name")


@pytest.fixture
def database(postgres_world: World) -> Iterator[Database]:
    """One connection, which prepares what was used once."""
    with contextlib.closing(Database(postgres_world.url, pool_size=1)) as made:
        yield made


def twice(tx: Transaction, number: Any) -> Any:
    return tx.execute(TWICE, {"number": number}).scalar_one()


def added(tx: Transaction, number: int) -> Any:
    return tx.execute(sa.text(f"SELECT {number} + :one"), {"one": 1}).scalar_one()


def held(tx: Transaction) -> list[str]:
    return [row.statement for row in tx.execute(PREPARED) if "double precision) * 2" in row.statement]


def test_a_statement_is_prepared_once(database: Database) -> None:
    assert [database.read(twice, number) for number in (1, 2, 3)] == [2, 4, 6]
    assert len(database.read(held)) == 1


def test_a_statement_of_a_step_is_prepared_after_it(database: Database) -> None:
    with database.transaction() as tx:
        assert [twice(tx, number) for number in (1, 2)] == [2, 4]
        assert not held(tx)
    assert database.run(twice, 3) == 6
    assert len(database.read(held)) == 1


def test_values_keep_their_types(database: Database) -> None:
    """A parameter that was declared a bigint would take 0.5 for 0."""
    assert [database.read(twice, number) for number in (1, 1, 0.5, 0.5, None, None)] == [2, 2, 1, 1, None, None]


def test_every_placeholder_and_percent_sign_is_kept(database: Database) -> None:
    question = sa.text("SELECT :word LIKE '%y%', :word, :number % 4, CAST(:word AS text) || :other")
    parameters = {"word": "any%", "other": "'1", "number": 7}
    for _ in range(3):
        assert database.read(lambda tx: tuple(tx.execute(question, parameters).one())) == (True, "any%", 3, "any%'1")


def test_a_statement_that_cannot_be_prepared_is_run_as_it_is(database: Database) -> None:
    question = sa.text("SELECT pg_typeof(:what), substr('word', :start)")  # bigint: PostgreSQL has no such function
    for _ in range(3):
        assert tuple(database.read(lambda tx: tx.execute(question, {"what": "x", "start": 2}).one()))[1] == "ord"


def test_a_server_that_forgot_them_is_told_again(database: Database) -> None:
    for number in (1, 2):
        database.read(twice, number)
    with database.transaction(reading=True) as tx:
        tx.connection.exec_driver_sql("DEALLOCATE ALL")
    with pytest.raises(Unavailable, match="prepared"):
        database.read(twice, 3)
    assert [database.read(twice, number) for number in (3, 4)] == [6, 8]
    assert len(database.read(held)) == 1


def test_what_is_wanted_is_prepared_once_though_the_count_began_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "COUNTED", 1)  # the real bound takes 500 statements
    with database.transaction() as tx:
        for _ in range(2):
            assert [twice(tx, 1), added(tx, 1)] == [2, 2]
    assert database.read(twice, 2) == 4
    assert len(database.read(held)) == 1


def test_a_column_may_change_its_type_under_them(database: Database, postgres_world: World) -> None:
    """As in a migration beside a process that runs on."""

    def answer(tx: Transaction, number: int) -> Any:
        return tx.execute(sa.text("SELECT what FROM changing WHERE what >= :number"), {"number": number}).scalar_one()

    def change(sql: str) -> None:
        postgres_world.database.run(lambda tx: tx.execute(sa.text(sql)))

    change("CREATE TABLE changing AS SELECT 5 AS what")
    try:
        assert [database.read(answer, number) for number in (1, 2)] == [5, 5]
        change("ALTER TABLE changing ALTER what TYPE numeric")
        with pytest.raises(Unavailable, match="prepared"):
            database.read(answer, 3)
        assert [database.read(answer, number) for number in (3, 4)] == [5, 5]
    finally:
        change("DROP TABLE changing")


def test_a_connection_keeps_a_bounded_number(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are lowered: the real ones need hundreds of statements."""
    monkeypatch.setattr(prepared, "AT_MOST", 3)
    monkeypatch.setattr(prepared, "COUNTED", 4)
    for number in range(12):
        for _ in range(2):
            assert database.read(added, number) == number + 1
    assert len(database.read(lambda tx: tx.execute(PREPARED).all())) == 3


def test_behind_a_pooler_nothing_is_prepared(postgres_world: World) -> None:
    """Like PgBouncer, this one names a process of its own when a connection is made."""
    with (
        Proxy(postgres_world.url, change=_name_another_process) as pooler,
        contextlib.closing(Database(pooler.url, pool_size=1)) as database,
    ):
        for number in (1, 2, 3):
            assert database.read(twice, number) == 2 * number
        assert not database.read(held)


def _name_another_process(data: bytes) -> bytes:
    head, key, tail = data.partition(b"K\0\0\0\x0c")  # BackendKeyData
    return head + key + b"\0\0\0\x01" + tail[4:] if key else data
