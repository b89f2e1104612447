"""PostgreSQL's driver as iacq uses it: a transaction costs one round trip less.

psycopg2 sends BEGIN, waits for the answer, and sends the first statement then. Here BEGIN goes with that statement, and
a step of one statement has neither BEGIN nor COMMIT. For the driver every connection is in autocommit: where a
transaction begins and ends is said here. SQLAlchemy calls `commit` and `rollback` as it always does. What is used often
is prepared.
"""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2 import errorcodes, extensions

from iacq.store.prepared import STALE, Prepared

BEGIN = "BEGIN"
BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Connection(extensions.connection):  # type: ignore[misc]  # psycopg2 has no types
    """One that SQLAlchemy's pool holds; `expect` says what comes next."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.autocommit = True
        self.begin: str | None = None  # what goes ahead of a statement that is outside of a transaction
        self.left: int | None = None  # statements that may still come; None: any number
        self.prepared: Prepared | None = None  # None: nothing may be

    def set_up(self, settings: str) -> None:
        """Make settings of this session; if the session is the connection's own, statements may be prepared in it.

        Behind a pooler (PgBouncer in transaction mode) each transaction may meet another session. A pooler answers
        with a process number of its own when a connection is made, as it does not know the server's yet.
        """
        with self.cursor() as cursor:
            cursor.execute(f"{settings}; SELECT pg_backend_pid()")
            if cursor.fetchone() == (self.info.backend_pid,):
                self.prepared = Prepared()

    def expect(self, *, begin: str | None, at_most: int | None = None) -> None:
        """Say how the next transaction begins. None: each statement is one, and `at_most` so many come."""
        self.begin = begin
        self.left = at_most

    @property
    def in_transaction(self) -> bool:
        """Tell whether the server has a transaction open, as far as its last answer says."""
        return bool(self.info.transaction_status != extensions.TRANSACTION_STATUS_IDLE)

    def commit(self) -> None:
        """End the transaction, if a statement began it."""
        self._end("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if a statement began it."""
        self._end("ROLLBACK")

    def _end(self, word: str) -> None:
        self.expect(begin=None)
        if self.in_transaction:
            with self.cursor() as cursor:
                cursor.execute(word)


class Cursor(extensions.cursor):  # type: ignore[misc]  # psycopg2 has no types
    """Sends a statement with what begins its transaction."""

    connection: Connection

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - the driver's name
        """Run one statement, or several that the driver joined to bytes.

        Raises OperationalError where the next attempt may succeed: if a prepared statement is of no use any more, it is
        prepared again; if the server takes no changes (after a fail-over: it was the primary), there is a new
        connection, which may reach another one.
        """
        connection = self.connection
        if connection.left is not None:
            if connection.left == 0:
                raise RuntimeError("a step of one statement made another one: each would be committed by itself")
            connection.left -= 1
        if connection.prepared is not None and isinstance(query, str) and isinstance(vars, dict):
            if not connection.in_transaction:
                connection.prepared.prepare(super().execute)
            query = connection.prepared.call(query, vars)
        if connection.begin is not None and not connection.in_transaction:
            begin = f"{connection.begin};"
            query = begin.encode() + query if isinstance(query, bytes) else begin + query
        try:
            super().execute(query, vars)
        except psycopg2.Error as error:
            if error.pgcode == errorcodes.READ_ONLY_SQL_TRANSACTION:
                connection.close()  # SQLAlchemy takes it, and all older ones of its pool, for disconnected
                raise psycopg2.OperationalError(f"the server takes no changes: {error}") from error
            if connection.prepared is None or error.pgcode not in STALE:
                raise
            connection.prepared.forget()
            raise psycopg2.OperationalError(f"a prepared statement has to be prepared again: {error}") from error
