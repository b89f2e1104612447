"""Rows of workspaces."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from iacq.domain import transitions
from iacq.domain.workspace import Workspace
from iacq.errors import Conflict, NotFound
from iacq.store import readable
from iacq.store.schema import runs, states, working_states, workspaces
from iacq.store.session import Transaction
from iacq.store.startable import is_pending

_SHAPES = {
    "variables": dict,
    "environment": dict,
    "var_files": list,
    "secret_names": list,
    "secret_environment": list,
}


def to_workspace(row: sa.Row[Any]) -> Workspace:
    """Make a value of a row. Raises ValueError for a broken one: nothing is planned with half of its variables."""
    for name, shape in _SHAPES.items():
        if not isinstance(getattr(row, name), shape):
            raise ValueError(f"{name} is not {'an object' if shape is dict else 'a list'}")  # noqa: TRY004 - of a value
    return Workspace(
        name=row.name,
        pool=row.pool,
        path=row.path,
        archive=row.archive,
        git=row.git_url,
        ref=row.git_ref,
        subdir=row.subdir,
        auto_apply=row.auto_apply,
        variables=row.variables,
        var_files=tuple(row.var_files),
        environment=row.environment,
        secret_names=tuple(row.secret_names),
        secret_environment=tuple(row.secret_environment),
        terraform_version=row.terraform_version,
        plan_expires=row.plan_expires_ms,
        locked_by=row.locked_by,
        locked_reason=row.locked_reason,
        locked_at=row.locked_ms,
        created_at=row.created_ms,
        updated_at=row.updated_ms,
    )


def _columns(workspace: Workspace) -> dict[str, Any]:
    return {
        "pool": workspace.pool,
        "path": workspace.path,
        "archive": workspace.archive,
        "git_url": workspace.git,
        "git_ref": workspace.ref,
        "subdir": workspace.subdir,
        "auto_apply": workspace.auto_apply,
        "variables": dict(workspace.variables),
        "var_files": list(workspace.var_files),
        "environment": dict(workspace.environment),
        "secret_names": list(workspace.secret_names),
        "secret_environment": list(workspace.secret_environment),
        "terraform_version": workspace.terraform_version,
        "plan_expires_ms": workspace.plan_expires,
    }


def insert(tx: Transaction, workspace: Workspace, *, secrets: bytes | None) -> Workspace:
    """Store a new workspace. Raises Conflict if the name is taken."""
    if find(tx, workspace.name) is not None:
        raise Conflict(
            f"workspace {workspace.name} exists already",
            field="workspace",
            hint=f"use `iacq workspace update {workspace.name}`",
        )
    row = tx.execute(
        workspaces.insert()
        .values(name=workspace.name, secrets=secrets, created_ms=tx.now, updated_ms=tx.now, **_columns(workspace))
        .returning(*workspaces.c)
    ).one()
    return to_workspace(row)


def update(tx: Transaction, workspace: Workspace, *, secrets: bytes | None) -> Workspace:
    """Change a workspace; runs that are enqueued already keep what they were enqueued with.

    Those that wait for their plan move to its pool: its runs wait in one line.
    """
    row = tx.change_one(
        workspaces.update()
        .where(workspaces.c.name == workspace.name)
        .values(secrets=secrets, updated_ms=tx.now, **_columns(workspace))
        .returning(*workspaces.c)
    )
    # After the workspace, which whoever enqueues or dispatches locks first too: none is missed, and nothing deadlocks.
    moving = runs.update().where(sa.text(is_pending()), runs.c.workspace_id == workspace.name)
    tx.execute(moving.where(runs.c.pool != workspace.pool).values(pool=workspace.pool))
    return to_workspace(row)


_GET = sa.select(workspaces).where(workspaces.c.name == sa.bindparam("workspace"))


def find(tx: Transaction, name: str) -> Workspace | None:
    """Return a workspace or None. Raises IacqError (code broken_row) if its row is broken."""
    return readable.one(tx, _GET, {"workspace": name}, to_workspace)


def get(tx: Transaction, name: str) -> Workspace:
    """Return a workspace. Raises NotFound."""
    workspace = find(tx, name)
    if workspace is None:
        raise _not_found(name)
    return workspace


def _not_found(name: str) -> NotFound:
    shown = ascii(name if len(name) <= 60 else name[:57] + "...").strip("'")
    return NotFound(
        f"there is no workspace {shown}",
        field="workspace",
        hint="`iacq workspace list` shows them; `iacq workspace create NAME --path DIR` makes one",
    )


def hold(tx: Transaction, name: str) -> Workspace:
    """Keep a workspace from being deleted, or moved, until this transaction ends. Raises NotFound if it is gone."""
    tx.execute(sa.select(workspaces.c.name).where(workspaces.c.name == name).with_for_update(read=True))
    return get(tx, name)


def hold_alone(tx: Transaction, name: str) -> None:
    """Keep the dispatch of state-changing runs from beginning until this transaction ends. Raises NotFound."""
    if tx.execute(sa.select(workspaces.c.name).where(workspaces.c.name == name).with_for_update()).first() is None:
        raise _not_found(name)


_SECRETS = sa.select(workspaces.c.secrets).where(workspaces.c.name == sa.bindparam("name"))
"""Built once: each claim asks."""


def secrets_of(tx: Transaction, name: str, *, lock: bool = False) -> bytes | None:
    """Return the sealed secrets; None if there are none, or no such workspace. lock: until this transaction ends."""
    statement = _SECRETS.with_for_update() if lock else _SECRETS
    found = tx.connection.execute(statement, {"name": name}).scalar()
    return None if found is None else bytes(found)


def listed(tx: Transaction) -> list[Workspace]:
    """Return all workspaces by name, without those whose row is broken."""
    return readable.many(tx, sa.select(workspaces).order_by(workspaces.c.name), (workspaces.c.name,), to_workspace)


def locked(tx: Transaction) -> list[Workspace]:
    """Return the workspaces that a person holds, without those whose row is broken."""
    held = sa.select(workspaces).where(workspaces.c.locked_ms.is_not(None))
    return readable.many(tx, held, (workspaces.c.name,), to_workspace)


def lock(tx: Transaction, name: str, *, by: str, reason: str) -> Workspace:
    """Hold the dispatch of state-changing runs. Raises Conflict if somebody holds it already."""
    workspace = get(tx, name)
    row = tx.execute(
        workspaces.update()
        .where(workspaces.c.name == name, workspaces.c.locked_ms.is_(None))
        .values(locked_by=by, locked_reason=reason, locked_ms=tx.now)
        .returning(*workspaces.c)
    ).first()
    if row is None:
        raise Conflict(
            f"workspace {name} is locked by {workspace.locked_by}: {workspace.locked_reason}",
            hint=f"`iacq workspace unlock {name}`",
        )
    return to_workspace(row)


def unlock(tx: Transaction, name: str) -> Workspace:
    """Let state-changing runs go on; fine if it is not locked."""
    get(tx, name)
    row = tx.execute(
        workspaces.update()
        .where(workspaces.c.name == name)
        .values(locked_by=None, locked_reason=None, locked_ms=None)
        .returning(*workspaces.c)
    ).one()
    return to_workspace(row)


def delete(tx: Transaction, name: str, *, force: bool) -> None:
    """Remove a workspace with its managed state; its ended runs stay, and their idempotency keys are free again.

    Raises Conflict with unended runs, or with a state that has resources (unless forced).
    """
    hold_alone(tx, name)
    unended = (
        tx.execute(
            sa.select(runs.c.id)
            .where(
                runs.c.workspace_id == name,
                runs.c.fence.is_not(None),
                runs.c.status.not_in(transitions.ENDED),
            )
            .order_by(runs.c.id)
        )
        .scalars()
        .all()
    )
    if unended:
        raise Conflict(
            f"workspace {name} has runs that have not ended: {', '.join(map(str, unended[:5]))}",
            hint=f"cancel or discard them first, for example `iacq cancel {unended[0]}`",
        )
    resources = tx.execute(
        sa.select(states.c.resources).where(states.c.workspace_id == name).order_by(states.c.version.desc()).limit(1)
    ).scalar()
    if resources and not force:
        raise Conflict(
            f"the state of workspace {name} has {resources} resources, which nobody would know of any more",
            hint=f"`iacq destroy {name}` removes them; --force deletes the workspace and its state all the same",
        )
    tx.execute(states.delete().where(states.c.workspace_id == name))
    tx.execute(working_states.delete().where(working_states.c.workspace_id == name))
    tx.execute(
        runs.update()
        .where(runs.c.workspace_id == name, runs.c.fence.is_not(None), runs.c.idempotency_key.is_not(None))
        .values(idempotency_key=None)
    )
    tx.execute(workspaces.delete().where(workspaces.c.name == name))
