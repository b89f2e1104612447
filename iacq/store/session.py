"""Connections and transactions: the one door to the database, and its clock."""

from __future__ import annotations

import contextlib
import enum
import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from iacq.errors import Unavailable

if TYPE_CHECKING:
    from iacq.store import psycopg

P = ParamSpec("P")
T = TypeVar("T")
KIND = "iacq_kind"
VIRTUAL_CLOCK = "iacq_virtual_clock"
DATABASE_UNAVAILABLE = "database_unavailable"
"""Code of the error that means: the same step may succeed later."""
ABANDONED = "30s"
"""PostgreSQL ends a transaction whose process says nothing for so long: a machine that hangs, or that is cut off in the
middle of one, would keep its row locks for the two hours of TCP."""


class Kind(enum.Enum):
    """What a transaction is for."""

    STEP = enum.auto()
    STATEMENT = enum.auto()  # a step of one statement: PostgreSQL needs no BEGIN and COMMIT for it
    QUESTION = enum.auto()  # nothing is written: nor for these, and SQLite's one writer need not be waited for
    SNAPSHOT = enum.auto()  # questions whose answers must belong together


class Raced(Exception):  # noqa: N818 - it says what happened: another process was faster, no row was changed
    """The compare-and-set changed no row. Nothing is to be done; whoever was faster did it."""


class now_ms(FunctionElement[int]):  # noqa: N801 - used like an SQL function
    """The database's clock in ms, read when the statement gets its row: after any wait for a lock."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(now_ms, "postgresql")
def _now_postgresql(_element: now_ms, compiler: Any, **kw: Any) -> str:
    if clock := getattr(compiler.dialect, VIRTUAL_CLOCK, None):
        return _now_virtual(clock, compiler, **kw)
    # now() is the start of the transaction: a compare-and-set that waited would accept a lease that has ended.
    return "(extract(epoch from clock_timestamp()) * 1000)::bigint"


@compiles(now_ms, "sqlite")
def _now_sqlite(_element: now_ms, compiler: Any, **kw: Any) -> str:
    if clock := getattr(compiler.dialect, VIRTUAL_CLOCK, None):
        return _now_virtual(clock, compiler, **kw)
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def _now_virtual(clock: Callable[[], int], compiler: Any, **kw: Any) -> str:
    return str(compiler.process(sa.bindparam("virtual_now", type_=sa.BigInteger(), callable_=clock), **kw))


class as_timestamp(FunctionElement[Any]):  # noqa: N801 - used like an SQL function
    """Milliseconds as a TIMESTAMP in UTC, for the columns that others read."""

    type = sa.DateTime()
    inherit_cache = True


@compiles(as_timestamp, "postgresql")
def _timestamp_postgresql(element: as_timestamp, compiler: Any, **kw: Any) -> str:
    return f"timezone('UTC', to_timestamp(({compiler.process(element.clauses, **kw)}) / 1000.0))"


@compiles(as_timestamp, "sqlite")
def _timestamp_sqlite(element: as_timestamp, compiler: Any, **kw: Any) -> str:
    return f"strftime('%Y-%m-%d %H:%M:%f', ({compiler.process(element.clauses, **kw)}) / 1000.0, 'unixepoch')"


class Transaction:
    """One transaction. `now` is an SQL expression: the database's clock, or a virtual one in tests."""

    now = now_ms()
    timestamp = as_timestamp(now)  # for other readers

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def execute(
        self, statement: sa.Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> sa.CursorResult[Any]:
        """Run one statement; with parameters if it was built once, for each of several rows."""
        return self.connection.execute(statement, parameters)

    def change_one(self, statement: sa.Executable) -> sa.Row[Any]:
        """Run a compare-and-set with RETURNING. Raises Raced if no row was changed."""
        row = self.execute(statement).first()
        if row is None:
            raise Raced
        return row


class Database:
    """The engine, made at first use (after any fork)."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], int] | None = None,
        pool_size: int = 5,
        patience: float | None = None,
    ) -> None:
        """Prepare; nothing is opened yet.

        clock: ms since the epoch, only for tests with a virtual clock. patience: seconds that an answer of PostgreSQL
        is awaited; None: for ever (a migration may take long).
        """
        self.url = url
        self._patience = patience
        self._clock = clock
        self._pool_size = pool_size
        self._engine: sa.Engine | None = None
        self._making = threading.Lock()
        _databases.add(self)

    @property
    def engine(self) -> sa.Engine:
        """The SQLAlchemy engine of this process."""
        if self._engine is None:
            with self._making:
                if self._engine is None:
                    engine = _make_engine(self.url, self._pool_size, self._patience)
                    setattr(engine.dialect, VIRTUAL_CLOCK, self._clock)
                    self._engine = engine
        return self._engine

    @functools.cached_property
    def _engines(self) -> Mapping[Kind, sa.Engine]:
        """The same connections for each kind of transaction."""
        return {kind: self.engine.execution_options(**{KIND: kind}) for kind in Kind}

    @property
    def is_sqlite(self) -> bool:
        """Tell whether this is the embedded database."""
        return self.url.startswith("sqlite")

    @contextlib.contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[Transaction]:
        """Commit at the end, roll back on any exception. Raises Unavailable when the database is away.

        reading: nothing is written, so SQLite's one writer need not be waited for.
        """
        with self._translating(Kind.QUESTION if reading else Kind.STEP) as tx:
            yield tx

    @contextlib.contextmanager
    def _translating(self, kind: Kind) -> Iterator[Transaction]:
        try:
            with self._engines[kind].begin() as connection:
                yield Transaction(connection)
        except IntegrityError:
            raise
        except (OperationalError, PoolTimeout) as error:
            raise _not_migrated(error) or _unavailable(error) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _unavailable(error) from error
            not_migrated = _not_migrated(error)
            if not_migrated is None:
                raise
            raise not_migrated from error

    def attempt(self, step: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Run one step in a transaction of its own; None if another process was faster.

        A violated unique constraint (one active run per workspace, one slot per run) is the same answer.
        """
        try:
            with self.transaction() as tx:
                return step(tx, *args, **kwargs)
        except (Raced, IntegrityError):
            return None

    def run(self, step: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one step or question in a transaction of its own."""
        with self.transaction() as tx:
            return step(tx, *args, **kwargs)

    def run_statement(self, step: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a step of one statement, which is the whole transaction: PostgreSQL is asked once.

        What it changed stays, whatever is raised after it. Raises RuntimeError at a second statement.
        """
        with self._translating(Kind.STATEMENT) as tx:
            return step(tx, *args, **kwargs)

    def read(self, question: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask one question."""
        with self.transaction(reading=True) as tx:
            return question(tx, *args, **kwargs)

    def read_at_once(self, question: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask one question of several statements; all of them see the rows as they were at the first one."""
        with self._translating(Kind.SNAPSHOT) as tx:
            return question(tx, *args, **kwargs)

    def warm(self) -> None:
        """Connect now, so that the next statement costs one round trip."""
        with self.transaction(reading=True) as tx:
            tx.execute(sa.select(1))

    def close(self) -> None:
        """Close every idle connection; the next use opens new ones."""
        if self._engine is not None:
            self._engine.dispose()

    def forget(self) -> None:
        """After a fork: drop the parent's connections without closing them."""
        self._making = threading.Lock()  # another thread may have held it
        if self._engine is not None:
            self._engine.dispose(close=False)
            self._engine = None
            self.__dict__.pop("_engines", None)


_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _before_fork() -> None:
    # SQLite's locks belong to a process and its memory of them would be copied: a child that inherits an open
    # connection believes that it holds locks which it does not. PostgreSQL's connections stay the parent's.
    for database in list(_databases):
        if database.is_sqlite:
            database.close()


def _after_fork_in_child() -> None:
    for database in list(_databases):
        database.forget()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)


def _not_migrated(error: Exception) -> Unavailable | None:
    """Recognise a database without iacq's present tables, in the words of SQLite and PostgreSQL."""
    origin = getattr(error, "orig", None)
    words = str(origin)
    missing = "no such table" in words or "no such column" in words
    if not missing and type(origin).__name__ not in {"UndefinedTable", "UndefinedColumn"}:
        return None
    return Unavailable(
        "the database does not have the tables of this version of iacq",
        field="IACQ_DATABASE_URL",
        code="database_not_migrated",
        hint="`iacq db upgrade` (with `iacq up`, it is done at the start)",
    )


def _unavailable(error: Exception) -> Unavailable:
    reason = str(getattr(error, "orig", error)).strip().split("\n")[0]
    return Unavailable(
        f"the database does not answer: {reason}",
        field="IACQ_DATABASE_URL",
        code=DATABASE_UNAVAILABLE,
        hint="check that it runs and that IACQ_DATABASE_URL is right (`iacq doctor` tells more)",
    )


def _make_engine(url: str, pool_size: int, patience: float | None) -> sa.Engine:
    if url.startswith("sqlite"):
        engine = sa.create_engine(
            url, pool_size=pool_size, max_overflow=10, hide_parameters=True, connect_args={"timeout": 15}
        )
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_immediate)
        return engine
    connect_args: dict[str, Any] = {
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15000,
        "application_name": "iacq",
    }
    from iacq.store import patience as waiting  # psycopg2 is imported only where PostgreSQL is used
    from iacq.store import psycopg

    connect_args["cursor_factory"] = psycopg.Cursor
    connect_args["connection_factory"] = psycopg.Connection if patience is None else waiting.connection_class(patience)
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=10,
        pool_timeout=10,
        executemany_mode="values_plus_batch",  # one round trip for a statement of several rows
        pool_use_lifo=True,  # the server's process that was used last knows the tables already
        hide_parameters=True,  # an error must not show what was being stored
        connect_args=connect_args,
    )
    sa.event.listen(engine, "connect", _prepare_postgresql)
    sa.event.listen(engine, "begin", _begin_postgresql)
    return engine


def _prepare_postgresql(connection: psycopg.Connection, _record: Any) -> None:
    # Not as an option of the connection: poolers such as PgBouncer refuse those.
    connection.set_up(f"SET idle_in_transaction_session_timeout = '{ABANDONED}'")


def _kind_of(connection: sa.Connection) -> Kind:
    kind: Kind = connection.get_execution_options().get(KIND, Kind.STEP)
    return kind


def _begin_postgresql(connection: sa.Connection) -> None:
    # Said to the driver itself: SQLAlchemy's isolation level asks the server to take it back after each use.
    from iacq.store import psycopg

    driver: Any = connection.connection.dbapi_connection
    match _kind_of(connection):
        case Kind.STEP:
            driver.expect(begin=psycopg.BEGIN)
        case Kind.SNAPSHOT:
            driver.expect(begin=psycopg.BEGIN_SNAPSHOT)
        case Kind.STATEMENT:
            driver.expect(begin=None, at_most=1)
        case Kind.QUESTION:
            driver.expect(begin=None)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=15000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    # A deferred transaction that reads first and writes later fails with "database is locked" instead of waiting.
    reading = _kind_of(connection) in (Kind.QUESTION, Kind.SNAPSHOT)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
