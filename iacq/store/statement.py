"""Compare-and-set as data: a row as it was seen, and what it becomes.

    statement.update(tx, slots, {"run_id": 7, "closed": None}, {"status": "reserved", "updated_ms": NOW})

Such a statement is built once for each shape (which columns are compared, and with what kind of thing) and then run
with bound parameters: SQLAlchemy takes longer to build a statement than a database to run it.

As it was seen: a value, None (is null), SET (is not null), LATER and PAST (than the database's clock), a tuple (one of
these), a `Condition`. What it becomes: a value, NOW, TIMESTAMP, `After`, `TimestampAfter`, `Plus`, `Keep`.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from iacq.store.session import Transaction, as_timestamp, now_ms


class Word(enum.Enum):
    """What is the same for every row."""

    NOW = enum.auto()  # the database's clock, in ms
    TIMESTAMP = enum.auto()  # the same, for the columns that others read
    SET = enum.auto()  # not null
    LATER = enum.auto()  # than now
    PAST = enum.auto()  # now, or earlier


NOW, TIMESTAMP, SET, LATER, PAST = Word


@dataclass(frozen=True)
class After:
    """The database's clock and so many milliseconds."""

    ms: int


@dataclass(frozen=True)
class TimestampAfter:
    """The same, for the columns that others read."""

    ms: int


@dataclass(frozen=True)
class Plus:
    """What the column holds, and so much."""

    number: int


@dataclass(frozen=True)
class Keep:
    """What the column holds; if that is nothing, this."""

    otherwise: Any


class Condition:
    """What must hold between columns of the row."""

    def __init__(self, expression: sa.ColumnElement[bool]) -> None:
        """Keep an expression that holds no value; made once, when a module is imported."""
        self.expression = expression


_NULL = "is null"
_VALUE = "value"
_AFTER = "after"
_TIMESTAMP_AFTER = "timestamp after"
Shape = tuple[tuple[str, Any], ...]


def update(
    tx: Transaction,
    table: sa.Table,
    seen: Mapping[str, Any],
    becomes: Mapping[str, Any],
    *,
    returning: tuple[sa.ColumnElement[Any], ...] = (),
) -> sa.CursorResult[Any]:
    """Change the rows that are as they were seen."""
    parameters: dict[str, Any] = {}
    statement = _update(
        table,
        tuple((name, _kind(value, f"s_{name}", parameters, null=_NULL)) for name, value in seen.items()),
        tuple((name, _kind(value, f"b_{name}", parameters)) for name, value in becomes.items()),
        returning,
    )
    return tx.connection.execute(statement, parameters)


def _kind(value: Any, name: str, parameters: dict[str, Any], *, null: str = _VALUE) -> Any:
    """Tell what kind of thing it is; what differs from call to call goes to the parameters."""
    match value:
        case None if null == _NULL:
            return _NULL
        case Word() | Condition() | tuple() | Plus():
            return value
        case After():
            parameters[name] = value.ms
            return _AFTER
        case TimestampAfter():
            parameters[name] = value.ms
            return _TIMESTAMP_AFTER
        case Keep():
            return Keep, _kind(value.otherwise, name, parameters)
    parameters[name] = value
    return _VALUE


@functools.cache
def _update(table: sa.Table, seen: Shape, becomes: Shape, returning: tuple[sa.ColumnElement[Any], ...]) -> sa.Update:
    statement = (
        table.update()
        .where(*(_compared(table, name, kind) for name, kind in seen))
        .values({name: _value(table.c[name], kind, f"b_{name}") for name, kind in becomes})
    )
    return statement.returning(*returning) if returning else statement


def _compared(table: sa.Table, name: str, kind: Any) -> sa.ColumnElement[bool]:
    if isinstance(kind, Condition):
        return kind.expression
    column = table.c[name]
    match kind:
        case "is null":
            return column.is_(None)
        case tuple():
            return column.in_(kind)
        case Word.SET:
            return column.is_not(None)
        case Word.LATER:
            return column > now_ms()
        case Word.PAST:
            return column <= now_ms()
    return column == sa.bindparam(f"s_{name}", type_=column.type)


def _value(column: sa.Column[Any], kind: Any, name: str) -> Any:
    match kind:
        case Word.NOW:
            return now_ms()
        case Word.TIMESTAMP:
            return as_timestamp(now_ms())
        case "after":
            return now_ms() + sa.bindparam(name, type_=sa.BigInteger())
        case "timestamp after":
            return as_timestamp(now_ms() + sa.bindparam(name, type_=sa.BigInteger()))
        case Plus():
            return column + kind.number
        case (_, otherwise):
            return sa.func.coalesce(column, _value(column, otherwise, name))
    return sa.bindparam(name, type_=column.type)
