"""Seal and open what a workspace keeps secret."""

from __future__ import annotations

from iacq.domain.masking import Masking
from iacq.domain.workspace_secrets import WorkspaceSecrets
from iacq.services.core import Core, bound_to
from iacq.store import workspaces


def bound(workspace: str) -> str:
    """Name what the sealed secrets of a workspace belong to."""
    return bound_to(workspace, 0, "secrets")


def seal(core: Core, workspace: str, secrets: WorkspaceSecrets) -> bytes | None:
    """Seal them; None if there are none."""
    return core.sealer.seal(secrets.to_json(), bound_to=bound(workspace)) if secrets else None


def masking_of(core: Core, workspace: str) -> Masking:
    """Return what hides the secrets that a workspace has now."""
    secrets = unseal(core, workspace, core.database.read(workspaces.secrets_of, workspace))
    return Masking([*secrets.variables.values(), *secrets.environment.values()])


def unseal(core: Core, workspace: str, sealed: bytes | None) -> WorkspaceSecrets:
    """Open what `seal` returned. Raises PhaseFailed(code=unreadable)."""
    if sealed is None:
        return WorkspaceSecrets()
    return WorkspaceSecrets.from_json(core.sealer.open(sealed, bound_to=bound(workspace)))
