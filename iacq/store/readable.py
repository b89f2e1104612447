"""Read rows of which one may be broken: somebody wrote to the table by hand. The others must not suffer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

from iacq import log
from iacq.errors import IacqError
from iacq.store.session import Transaction

T = TypeVar("T")
logger = log.get(__name__)

BROKEN = (ValueError, TypeError, KeyError, AttributeError)
"""What making a value of a broken row raises: an unknown word, a NULL, JSON that is none or has another shape."""

_rarely = log.Rarely(60)


def one(tx: Transaction, statement: sa.Executable, given: Mapping[str, Any], make: Callable[[Any], T]) -> T | None:
    """Return what `make` makes of the first row, or None. Raises IacqError (code broken_row) if that cannot be made."""
    try:
        row = tx.execute(statement, given).first()
        return make(row) if row else None
    except BROKEN as error:
        named = ", ".join(f"{name} {value!a}" for name, value in given.items())
        raise IacqError(
            f"the row of {named} cannot be read: {_say(error)}",
            code="broken_row",
            hint="somebody wrote to the table by hand; repair the row",
        ) from error


def many(
    tx: Transaction,
    statement: sa.Select[Any],
    key: tuple[sa.ColumnElement[Any], ...],
    make: Callable[[Any], T],
    given: Mapping[str, Any] | None = None,
) -> list[T]:
    """Return what `make` makes of each row; one that is broken is left out, and said so now and then.

    key: the primary key of the table; given: the parameters of a statement that was built once.
    """
    try:
        return [make(row) for row in tx.execute(statement, given)]
    except BROKEN:
        return list(_one_by_one(tx, statement.params(given) if given else statement, key, make))


def _one_by_one(
    tx: Transaction, statement: sa.Select[Any], key: tuple[sa.ColumnElement[Any], ...], make: Callable[[Any], T]
) -> Iterator[T]:
    for found in tx.execute(statement.with_only_columns(*key, maintain_column_froms=True)).all():
        where = [column == value for column, value in zip(key, found, strict=True)]
        try:
            row = tx.execute(statement.where(*where)).first()
            if row is not None:
                yield make(row)
        except BROKEN as error:
            named = f"{str(key[0]).partition('.')[0]} {', '.join(map(str, found))}"
            if _rarely(named):
                logger.warning("left out, its row cannot be read: %s: %s", named, _say(error))


def _say(error: Exception) -> str:
    return ascii(str(error))[1:200].rstrip("'\"") or type(error).__name__
