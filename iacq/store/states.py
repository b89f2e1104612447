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
    run_id: int | None  # None: imported or pushed
    pushed_by: str | None  # None: not pushed
    reason: str | None  # why it was pushed
    created_at: int  # ms


@dataclass(frozen=True, kw_only=True)
class WorkingState:
    """The state that an apply wrote last; not a version yet."""

    run_id: int
    lineage: str
    serial: int
    resources: int
    updated_at: int  # ms


@dataclass(frozen=True, kw_only=True)
class Push:
    """Who gave a state, and why."""

    by: str
    reason: str | None
    force: bool  # whatever lineage and serial it has


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
        pushed_by=row.pushed_by,
        reason=row.reason,
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


_NEWEST = (
    sa.select(states)
    .where(states.c.workspace_id == sa.bindparam("workspace"))
    .order_by(states.c.version.desc())
    .limit(1)
)


def newest(tx: Transaction, workspace: str) -> tuple[StateVersion, bytes] | None:
    """Return the newest version and its sealed bytes."""
    row = tx.execute(_NEWEST, {"workspace": workspace}).first()
    return (_to_version(row), bytes(row.sealed)) if row else None


_INSERT = states.insert().values(created_ms=now_ms()).returning(*_VERSION_COLUMNS)
_FORGET_WORKING = working_states.delete().where(working_states.c.workspace_id == sa.bindparam("workspace"))


def add(
    tx: Transaction, workspace: str, new: NewState, *, run_id: int | None, push: Push | None = None
) -> StateVersion:
    """Add a version: same lineage and a greater serial than the newest, or the first one.

    The same state again is no change. Raises Conflict for anything else, unless a person forces it. Two writers cannot
    add the same version: the second violates the primary key.
    """
    newest = current(tx, workspace)
    if newest is not None and newest.sha256 == new.sha256:
        return newest
    if newest is not None and not _follows(newest, new.lineage, new.serial) and not (push and push.force):
        raise Conflict(
            f"state of workspace {workspace}: serial {new.serial} of lineage {new.lineage} does not follow "
            f"serial {newest.serial} of lineage {newest.lineage}",
            code="state_conflict",
        )
    return _insert(tx, workspace, newest, new, run_id=run_id, push=push)


def _follows(newest: StateVersion, lineage: str, serial: int) -> bool:
    return newest.lineage == lineage and newest.serial < serial


def _insert(
    tx: Transaction,
    workspace: str,
    newest: StateVersion | None,
    new: NewState,
    *,
    run_id: int | None,
    push: Push | None = None,
) -> StateVersion:
    values = {
        "workspace_id": workspace,
        "version": newest.version + 1 if newest else 1,
        "run_id": run_id,
        "pushed_by": push.by if push else None,
        "reason": push.reason if push else None,
        **dataclasses.asdict(new),
    }
    row = tx.execute(_INSERT, values).one()
    tx.execute(_FORGET_WORKING, {"workspace": workspace})
    return _to_version(row)


_INSERT_WORKING = working_states.insert().values(updated_ms=now_ms())


def put_working(tx: Transaction, workspace: str, new: NewState, *, run_id: int) -> None:
    """Replace the working row of the apply that runs now."""
    tx.execute(_FORGET_WORKING, {"workspace": workspace})
    tx.execute(_INSERT_WORKING, {"workspace_id": workspace, "run_id": run_id, **dataclasses.asdict(new)})


def working(tx: Transaction, workspace: str) -> WorkingState | None:
    """Return what the working row says, if there is one."""
    row = _working_row(tx, workspace)
    if row is None:
        return None
    return WorkingState(
        run_id=row.run_id,
        lineage=row.lineage,
        serial=row.serial,
        resources=row.resources,
        updated_at=row.updated_ms,
    )


def _working_row(tx: Transaction, workspace: str) -> sa.Row[Any] | None:
    return tx.execute(sa.select(working_states).where(working_states.c.workspace_id == workspace)).first()


def keep_working(tx: Transaction, workspace: str, run_id: int) -> StateVersion | None:
    """Make a version of the working row of a run that nobody finishes any more: what it names exists.

    None: there is nothing newer than the newest version.
    """
    row = _working_row(tx, workspace)
    if row is None or row.run_id != run_id:
        return None
    newest = current(tx, workspace)
    if newest is not None and not _follows(newest, row.lineage, row.serial):
        tx.execute(_FORGET_WORKING, {"workspace": workspace})
        return None
    kept = NewState(**{field.name: getattr(row, field.name) for field in dataclasses.fields(NewState)})
    return _insert(tx, workspace, newest, dataclasses.replace(kept, sealed=bytes(row.sealed)), run_id=run_id)
