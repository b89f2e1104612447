"""Everything that is sealed in a column, for a change of keys: listed in batches, replaced by compare-and-set."""

from __future__ import annotations

import enum
from typing import Any

import sqlalchemy as sa

from iacq.store.schema import artifacts, runs, states, working_states, workspaces
from iacq.store.session import Transaction

Key = tuple[Any, ...]


class Kind(enum.StrEnum):
    """Which column. The first column of each key is the name of the workspace."""

    SECRETS = "secrets"
    STATES = "states"
    WORKING_STATES = "working_states"


_COLUMNS: dict[Kind, sa.Column[Any]] = {
    Kind.SECRETS: workspaces.c.secrets,
    Kind.STATES: states.c.sealed,
    Kind.WORKING_STATES: working_states.c.sealed,
}


def keys(tx: Transaction, kind: Kind, *, after: Key | None, limit: int) -> list[Key]:
    """Return the next primary keys, in order."""
    column = _COLUMNS[kind]
    primary = list(column.table.primary_key)
    statement = sa.select(*primary).where(column.is_not(None)).order_by(*primary).limit(limit)
    if after is not None:
        statement = statement.where(sa.tuple_(*primary) > sa.tuple_(*after))
    return [tuple(row) for row in tx.execute(statement)]


def get(tx: Transaction, kind: Kind, key: Key) -> bytes | None:
    """Return what is sealed there now; None if it is gone."""
    found = tx.execute(sa.select(_COLUMNS[kind]).where(*_is(kind, key))).scalar()
    return None if found is None else bytes(found)


def replace(tx: Transaction, kind: Kind, key: Key, *, seen: bytes, sealed: bytes) -> bool:
    """Put `sealed` where `seen` still is; tells whether it was."""
    column = _COLUMNS[kind]
    changed = tx.execute(sa.update(column.table).where(*_is(kind, key), column == seen).values({column.name: sealed}))
    return changed.rowcount == 1


def _is(kind: Kind, key: Key) -> list[sa.ColumnElement[bool]]:
    return [column == value for column, value in zip(_COLUMNS[kind].table.primary_key, key, strict=True)]


def artifacts_after(tx: Transaction, *, after: Key | None, limit: int) -> list[tuple[str, int, str, str]]:
    """Return (workspace, run id, kind, key in the artifact store) of the next artifacts, by run and kind."""
    statement = (
        sa.select(runs.c.workspace_id, artifacts.c.run_id, artifacts.c.kind, artifacts.c.key)
        .join(runs, runs.c.id == artifacts.c.run_id)
        .order_by(artifacts.c.run_id, artifacts.c.kind)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(sa.tuple_(artifacts.c.run_id, artifacts.c.kind) > sa.tuple_(*after))
    return [(row.workspace_id, row.run_id, row.kind, row.key) for row in tx.execute(statement)]
