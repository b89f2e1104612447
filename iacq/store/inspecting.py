"""What a database has, beside what iacq needs: for `iacq db check`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex

from iacq.store import indexes, migrate, participation  # noqa: F401 - indexes belong to the metadata
from iacq.store.schema import metadata, runs
from iacq.store.session import Database


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found."""

    version: str | None  # last migration that the database has seen; None: none
    required: str  # last one that this version needs
    newest: str  # last one that there is
    missing: tuple[str, ...] = ()  # tables, columns, constraints and indexes, as people name them
    repair: tuple[str, ...] = ()  # statements that make the missing indexes
    current: bool = False  # it has seen what this version needs
    demanded: int = 0  # the protocol that a process must speak to take part; 0: any
    foreign_rows: int = 0  # rows of `workspace_tasks` that iacq did not write


def look(url: str) -> Findings:
    """Look at the database. Raises Unavailable if it is away, or of a newer iacq."""
    version, required, newest = migrate.version(url), migrate.required(), migrate.newest()
    if version is None:
        return Findings(version=version, required=required, newest=newest)
    with contextlib.closing(Database(url, pool_size=1)) as database, database.transaction(reading=True) as tx:
        inspector = sa.inspect(tx.connection)
        current = migrate.is_current(url)
        missing = list(_missing(inspector)) if current else []
        foreign = sa.select(sa.func.count()).select_from(runs).where(runs.c.fence.is_(None))
        return Findings(
            version=version,
            required=required,
            newest=newest,
            current=current,
            demanded=participation.demanded(tx) if current else 0,
            missing=tuple(text for text, _ in missing),
            repair=tuple(
                str(CreateIndex(index).compile(dialect=tx.connection.dialect)).strip()
                for _, index in missing
                if index is not None
            ),
            foreign_rows=int(tx.execute(foreign).scalar_one()),
        )


def _missing(inspector: sa.Inspector) -> Iterator[tuple[str, sa.Index | None]]:
    present = set(inspector.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in present:
            yield f"table {table.name}", None
            continue
        yield from _missing_of(inspector, table)


def _missing_of(inspector: sa.Inspector, table: sa.Table) -> Iterator[tuple[str, sa.Index | None]]:
    columns = {column["name"] for column in inspector.get_columns(table.name)}
    checks = {check["name"] for check in inspector.get_check_constraints(table.name)}
    known = {index["name"] for index in inspector.get_indexes(table.name)}
    for column in table.columns:
        if column.name not in columns:
            yield f"column {table.name}.{column.name}", None
    for check in table.constraints:
        if isinstance(check, sa.CheckConstraint) and check.name not in checks:
            yield f"constraint {check.name} of {table.name}", None
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        if index.name not in known:
            yield f"index {index.name} of {table.name}", index
