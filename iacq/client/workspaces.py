"""Make and change workspaces, and the keys that seal their secrets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from iacq.client.base import Base
from iacq.domain import fields
from iacq.domain.workspace import Workspace
from iacq.domain.workspace_secrets import WorkspaceSecrets
from iacq.errors import InvalidInput
from iacq.messages import DISPATCH
from iacq.services import reencrypting, workspaces
from iacq.services.reencrypting import Tally
from iacq.store import workspaces as workspace_rows


class WorkspaceCalls(Base):
    """Calls about workspaces."""

    def create_workspace(
        self,
        workspace: Workspace,
        *,
        secret_variables: Mapping[str, str] | None = None,
        secret_environment: Mapping[str, str] | None = None,
    ) -> Workspace:
        """Store a new workspace. Raises InvalidInput, Conflict.

        Secrets are stored encrypted and masked in logs. Variables are frozen with each run; the environment is read
        anew by each phase, so that a credential may change between a plan and its apply.
        """
        secrets = WorkspaceSecrets(variables=secret_variables or {}, environment=secret_environment or {})
        return workspaces.create(self._sealing, workspace, secrets=secrets)

    def update_workspace(
        self,
        name: str,
        *,
        secret_variables: Mapping[str, str] | None = None,
        secret_environment: Mapping[str, str] | None = None,
        remove_secrets: Collection[str] = (),
        **changes: Any,
    ) -> Workspace:
        """Change fields of a workspace (those of `iacq.domain.workspace.Workspace`).

        Secrets are added or replaced by name, or removed; the others stay.
        """
        unknown = changes.keys() - {field.name for field in dataclasses.fields(Workspace)}
        if unknown:
            raise InvalidInput(f"a workspace has no field {min(unknown)}", field=min(unknown))
        changed = dataclasses.replace(self.workspace(name), **changes)
        added = WorkspaceSecrets(variables=secret_variables or {}, environment=secret_environment or {})
        return workspaces.update(self._sealing, changed, added=added, removed=remove_secrets)

    def workspaces(self) -> Sequence[Workspace]:
        """Return all workspaces by name."""
        return self._core.database.read(workspace_rows.listed)

    def delete_workspace(self, name: str, *, force: bool = False) -> None:
        """Remove a workspace. Raises Conflict with unended runs, or with resources in its state unless forced."""
        self._core.database.run(workspace_rows.delete, name, force=force)

    def lock_workspace(self, name: str, *, reason: str, by: str | None = None) -> Workspace:
        """Hold the dispatch of state-changing runs. Raises Conflict if somebody holds it already."""
        return self._core.database.run(
            workspace_rows.lock, name, by=self._who(by), reason=fields.text(reason, "reason")
        )

    def unlock_workspace(self, name: str) -> Workspace:
        """Let state-changing runs go on."""
        unlocked = self._core.database.run(workspace_rows.unlock, name)
        self._core.ring_control(DISPATCH)
        return unlocked

    def reencrypt(self, report: Callable[[Tally], None]) -> Sequence[Tally]:
        """Seal everything stored with the first key, beside a running system.

        report: told how far a long one is. If no tally has anything left, the other keys need not be given any more.
        """
        return reencrypting.reencrypt(self._sealing, report)
