"""Managed states: versions, and the working row of the apply that runs now."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from iacq.errors import Conflict
from iacq.store.schema import states, working_states
from iacq.store.session import Transaction, now_ms


@dataclass(frozen=True, kw_only=True)
class StateVersion:
    """One stored state."""

    version: int
    lineage: str
    serial: int
    sha256: str  # of the state in clear
    size: int  # bytes in clear
    resources: int
    run_id: int | None  # None: imported
    created_at: int  # ms


@dataclass(frozen=True, kw_only=True)
class NewState:
    """A state to be stored."""

    lineage: str
    serial: int
    sha256: str
    size: int
    resources: int
    sealed: bytes


def _to_version(row: sa.Row[Any]) -> StateVersion:
    return StateVersion(
        version=row.version,
        lineage=row.lineage,
        serial=row.serial,
        sha256=row.sha256,
        size=row.size,
        resources=row.resources,
        run_id=row.run_id,
        created_at=row.created_ms,
    )


_VERSION_COLUMNS = [column for column in states.c if column.name != "sealed"]


_CURRENT = (
    sa.select(*_VERSION_COLUMNS)
    .where(states.c.workspace_id == sa.bindparam("workspace"))
    .order_by(states.c.version.desc())
    .limit(1)
)


def current(tx: Transaction, workspace: str) -> StateVersion | None:
    """Return the newest version."""
    row = tx.execute(_CURRENT, {"workspace": workspace}).first()
    return _to_version(row) if row else None


def listed(tx: Transaction, workspace: str) -> list[StateVersion]:
    """Return all versions, newest first."""
    rows = tx.execute(
        sa.select(*_VERSION_COLUMNS).where(states.c.workspace_id == workspace).order_by(states.c.version.desc())
    )
    return [_to_version(row) for row in rows]


def newest_of_each(tx: Transaction) -> dict[str, StateVersion]:
    """Return the newest version of every workspace that has one, by name."""
    newest = sa.select(states.c.workspace_id, sa.func.max(states.c.version).label("version"))
    each = newest.group_by(states.c.workspace_id).subquery()
    rows = tx.execute(
        sa.select(*_VERSION_COLUMNS)
        .join(each, sa.and_(states.c.workspace_id == each.c.workspace_id, states.c.version == each.c.version))
        .order_by(states.c.workspace_id)
    )
    return {row.workspace_id: _to_version(row) for row in rows}


_SEALED = sa.select(states.c.sealed).where(
    states.c.workspace_id == sa.bindparam("workspace"), states.c.version == sa.bindparam("number")
)


def sealed(tx: Transaction, workspace: str, version: int) -> bytes | None:
    """Return the sealed bytes of a version."""
    found = tx.execute(_SEALED, {"workspace": workspace, "number": version}).scalar()
    return bytes(found) if found is not None else None


_INSERT = states.insert().values(created_ms=now_ms()).returning(*_VERSION_COLUMNS)
_FORGET_WORKING = working_states.delete().where(working_states.c.workspace_id == sa.bindparam("workspace"))


def add(tx: Transaction, workspace: str, new: NewState, *, run_id: int | None) -> StateVersion:
    """Add a version: same lineage and a greater serial than the newest, or the first one.

    The same state again is no change. Raises Conflict for anything else. Two writers cannot add the same version: the
    second violates the primary key.
    """
    newest = current(tx, workspace)
    if newest is not None:
        if newest.sha256 == new.sha256:
            return newest
        if newest.lineage != new.lineage or newest.serial >= new.serial:
            raise Conflict(
                f"state of workspace {workspace}: serial {new.serial} of lineage {new.lineage} does not follow "
                f"serial {newest.serial} of lineage {newest.lineage}",
                code="state_conflict",
            )
    number = newest.version + 1 if newest else 1
    values = {"workspace_id": workspace, "version": number, "run_id": run_id, **dataclasses.asdict(new)}
    row = tx.execute(_INSERT, values).one()
    tx.execute(_FORGET_WORKING, {"workspace": workspace})
    return _to_version(row)


_INSERT_WORKING = working_states.insert().values(updated_ms=now_ms())


def put_working(tx: Transaction, workspace: str, new: NewState, *, run_id: int) -> None:
    """Replace the working row of the apply that runs now."""
    tx.execute(_FORGET_WORKING, {"workspace": workspace})
    values = {"lineage": new.lineage, "serial": new.serial, "sha256": new.sha256, "sealed": new.sealed}
    tx.execute(_INSERT_WORKING, {"workspace_id": workspace, "run_id": run_id, **values})


def working(tx: Transaction, workspace: str) -> tuple[int, bytes] | None:
    """Return (run id, sealed state) of the working row, if there is one."""
    row = tx.execute(
        sa.select(working_states.c.run_id, working_states.c.sealed).where(working_states.c.workspace_id == workspace)
    ).first()
    return (row.run_id, bytes(row.sealed)) if row else None
