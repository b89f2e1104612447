"""Statements that a connection of PostgreSQL keeps prepared: parsed once, planned once if one plan suits all values.

Of the look at a long queue PostgreSQL took 5 ms to parse and plan and 0.5 ms to execute. psycopg2 prepares nothing by
itself; psycopg 3 does, but needs a third more of the client's processor time and cannot send BEGIN along.

A statement that was used a few times is prepared when its connection is next outside of a transaction: one that
PostgreSQL refuses to prepare then does no harm, and is sent as it is for as long as the connection lasts.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import errorcodes

USES = 3
"""A statement is prepared after so many."""
AT_MOST = 100
"""Statements that one connection keeps, each some tens of kB of the server's memory (psycopg 3 has the same bound)."""
COUNTED = 500
"""Statements whose uses are counted; at one more the count begins again."""
STALE = (errorcodes.INVALID_SQL_STATEMENT_NAME, errorcodes.FEATURE_NOT_SUPPORTED)
"""The server has forgotten it (DISCARD ALL), or a migration has changed the type of what it returns."""

_TYPES = {int: "bigint", bool: "boolean", float: "double precision"}  # of others PostgreSQL asks the context
_PLACE = re.compile(r"%%|%\(([^)]+)\)s")


class _Shape(NamedTuple):
    """A statement and the types of its parameters: a bigint that is given 0.5 would take it for 0."""

    statement: str
    names: tuple[str, ...]
    types: tuple[str, ...]


class Prepared:
    """What one connection has prepared, and will prepare."""

    def __init__(self) -> None:
        self._uses: dict[_Shape, int] = {}
        self._wanted: list[_Shape] = []
        self._calls: dict[_Shape, str] = {}  # what to send instead; the statement itself if it cannot be prepared
        self._numbers = itertools.count()

    def call(self, statement: str, parameters: Mapping[str, Any]) -> str:
        """Return what to send with the same parameters: the call of a prepared statement, or this one."""
        types = tuple([_TYPES.get(type(value), "unknown") for value in parameters.values()])
        shape = _Shape(statement, tuple(parameters), types)
        call = self._calls.get(shape)
        if call is not None:
            return call
        self._count(shape)
        return statement

    def _count(self, shape: _Shape) -> None:
        if len(self._uses) == COUNTED:
            self._uses.clear()
        uses = self._uses[shape] = self._uses.get(shape, 0) + 1
        # After the count began again it may be wanted already.
        if uses == USES and shape not in self._wanted and len(self._calls) + len(self._wanted) < AT_MOST:
            self._wanted.append(shape)

    def prepare(self, execute: Callable[[str], None]) -> None:
        """Prepare what was used often. Outside of a transaction only: what is refused would end it."""
        while self._wanted:
            shape = self._wanted.pop()
            self._calls[shape] = self._prepare(shape, execute)

    def _prepare(self, shape: _Shape, execute: Callable[[str], None]) -> str:
        places: dict[str, str] = {}

        def place(match: re.Match[str]) -> str:
            return places.setdefault(match[1], f"${len(places) + 1}") if match[1] else "%"

        statement = _PLACE.sub(place, shape.statement)
        types = dict(zip(shape.names, shape.types, strict=True))
        name = f"iacq_{next(self._numbers)}"
        try:
            execute(f"PREPARE {name}{_listed(types[of] for of in places)} AS {statement}")
        except psycopg2.ProgrammingError:
            return shape.statement
        return f"EXECUTE {name}{_listed(f'%({of})s' for of in places)}"

    def forget(self) -> None:
        """Begin again: what was prepared is of no use any more."""
        self._uses.clear()
        self._wanted.clear()
        self._calls.clear()


def _listed(words: Any) -> str:
    listed = ", ".join(words)
    return f" ({listed})" if listed else ""
