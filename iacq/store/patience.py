"""A bound on the wait for PostgreSQL's answers.

A server that hangs (a stopped machine, a stalled disk) keeps its connections open: no time-out of the server or of TCP
ends the wait for it. psycopg2 lets a callback do the waiting, for all connections of the process; the ones made here
give up after a while, which closes them. It costs a few microseconds per statement.
"""

from __future__ import annotations

import select
import time

import psycopg2
from psycopg2 import extensions

from iacq.store import psycopg

CONNECT_SECONDS = 5.0
"""The longest wait while a connection is made: libpq's connect_timeout means nothing to a callback."""

_MADE = (extensions.STATUS_READY, extensions.STATUS_BEGIN, extensions.STATUS_PREPARED)


def connection_class(seconds: float) -> type[psycopg.Connection]:
    """Return what to connect with so that an answer is awaited that long; installs the callback."""
    extensions.set_wait_callback(_wait)
    return type("ImpatientConnection", (psycopg.Connection,), {"patience": seconds})


def _wait(connection: extensions.connection) -> None:
    """Wait until the present operation of a connection is over. Raises OperationalError: it took too long."""
    patience: float | None = getattr(connection, "patience", None)
    if patience is not None and connection.status not in _MADE:
        patience = min(patience, CONNECT_SECONDS)
    deadline = None if patience is None else time.monotonic() + patience
    while (state := connection.poll()) != extensions.POLL_OK:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise psycopg2.OperationalError(f"no answer within {patience:g} s")
        poll.poll(None if left is None else left * 1000)
