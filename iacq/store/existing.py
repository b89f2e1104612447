"""A table `workspace_tasks` that was there before iacq: whether it fits, and what it has already.

iacq adds columns, constraints and indexes to it, and changes and removes nothing: rows stay as they are on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from iacq.domain.run import RunType, Status
from iacq.errors import InvalidInput
from iacq.store.schema import runs

TABLE = runs.name

_ALWAYS_WRITTEN = frozenset(
    {"workspace_id", "task_type", "status", "created_at", "updated_at", "warmup_status", "warmup_retry_count"}
)
"""What every row of iacq has from the beginning: such a column may be NOT NULL without a default."""
_NEVER_CLEARED = _ALWAYS_WRITTEN | {"id", "agent_id", "started_at", "completed_at"}
"""What iacq never sets to NULL: such a column may be NOT NULL."""
_FOREIGN_KEY_VIOLATION = "23503"


@dataclass(frozen=True, kw_only=True)
class Existing:
    """What the table has: names."""

    columns: frozenset[str]
    indexes: frozenset[str]


def find(connection: sa.Connection) -> Existing | None:
    """Look at the table; None if there is none. Raises InvalidInput that names each column that does not fit."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(TABLE):
        return None
    if connection.dialect.name != "postgresql":
        raise InvalidInput(
            f"the database has a table {TABLE} that iacq did not make",
            field="IACQ_DATABASE_URL",
            hint="iacq can share such a table in PostgreSQL only: give it another SQLite file",
            code="table_does_not_fit",
        )
    columns = {column["name"]: column for column in inspector.get_columns(TABLE)}
    problems = [*_kind(connection), *_id(inspector, columns), *_columns(columns)]
    if problems:
        raise InvalidInput(
            f"the table {TABLE} does not fit: " + "; ".join(text for _, text in problems),
            field=f"{TABLE}.{problems[0][0]}" if problems[0][0] else TABLE,
            hint="nothing was changed; change the table, or give iacq a database (or a schema) of its own",
            code="table_does_not_fit",
        )
    return Existing(
        columns=frozenset(columns),
        indexes=frozenset(str(index["name"]) for index in inspector.get_indexes(TABLE)),
    )


Problem = tuple[str, str]
"""Column (empty: the table), and what is wrong with it."""


def _kind(connection: sa.Connection) -> Iterator[Problem]:
    found = connection.scalar(sa.text("SELECT relkind FROM pg_class WHERE oid = to_regclass(:name)"), {"name": TABLE})
    if found != "r":
        yield "", f"it is no ordinary table (relkind {found})"


def _id(inspector: sa.Inspector, columns: dict[str, Any]) -> Iterator[Problem]:
    identifier = columns.get("id")
    if identifier is None:
        yield "id", "it has no column id"
        return
    keys = [inspector.get_pk_constraint(TABLE)["constrained_columns"]]
    keys += [unique["column_names"] for unique in inspector.get_unique_constraints(TABLE)]
    if ["id"] not in keys:
        yield "id", "column id is neither the primary key nor unique"
    if identifier.get("default") is None and identifier.get("identity") is None:
        yield "id", "column id gets no number by itself (no sequence, no identity)"


def _columns(columns: dict[str, Any]) -> Iterator[Problem]:
    for name, column in columns.items():
        ours = runs.c.get(name)
        if name == "fence":
            yield name, "it has a column fence, by which iacq tells its own rows"
        elif ours is not None and not fits(column["type"], ours.type):
            yield name, f"column {name} is {column['type']}, iacq needs {ours.type}"
        if column["nullable"] or (ours is not None and name in _ALWAYS_WRITTEN):
            continue
        if ours is not None and name not in _NEVER_CLEARED:
            yield name, f"column {name} is NOT NULL, iacq writes NULL there"
        elif column.get("default") is None and column.get("identity") is None and column.get("computed") is None:
            yield name, f"column {name} is NOT NULL without a default, and iacq does not write it"


def fits(found: sa.types.TypeEngine[Any], wanted: sa.types.TypeEngine[Any]) -> bool:
    """Tell whether a column of type `found` takes and gives back all that iacq stores in one of type `wanted`."""
    if isinstance(wanted, sa.String):
        if not isinstance(found, sa.String) or isinstance(found, sa.Enum | sa.CHAR):
            return False
        return found.length is None or (wanted.length is not None and found.length >= wanted.length)
    if isinstance(wanted, sa.BigInteger):
        return isinstance(found, sa.BigInteger)
    if isinstance(wanted, sa.Integer):
        return isinstance(found, sa.Integer) and not isinstance(found, sa.SmallInteger)
    if isinstance(wanted, sa.DateTime):
        return isinstance(found, sa.DateTime) and not found.timezone
    return isinstance(found, sa.JSON if isinstance(wanted, sa.JSON) else type(wanted))


def rehearse(connection: sa.Connection) -> None:
    """Write a row of each kind and take it back: constraints and triggers of the table must let iacq's rows pass.

    Raises InvalidInput with what the database said. A number of its sequence is used up by each.
    """
    kinds = [(RunType.PLAN, status) for status in Status] + [(kind, Status.PENDING) for kind in RunType]
    for kind, status in kinds:
        savepoint = connection.begin_nested()
        try:
            connection.execute(runs.insert().values(task_type=kind, status=status, **_SAMPLE))
        except DBAPIError as error:
            # A key to somebody's table of workspaces is checked last, and is for whoever names the workspaces.
            if getattr(error.orig, "pgcode", None) != _FOREIGN_KEY_VIOLATION:
                raise InvalidInput(
                    f"the table {TABLE} does not take a row of type {kind} and status {status}: "
                    + str(error.orig).strip().split("\n")[0],
                    field=TABLE,
                    hint="nothing was changed; let that constraint or trigger pass rows whose fence is not NULL, "
                    "or give iacq a database (or a schema) of its own",
                    code="table_does_not_fit",
                ) from error
        finally:
            savepoint.rollback()


_SAMPLE = {
    "workspace_id": "iacq-upgrade-rehearsal",
    "fence": 0,
    "attempt": 0,
    "tries": 0,
    "confirmed_ms": 1,
    "effects_at_ms": 1,
    "effects_fence": 1,
    "created_at": sa.func.now(),
    "updated_at": sa.func.now(),
    "warmup_status": "none",
    "warmup_retry_count": 0,
}
