"""Create and change workspaces."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from iacq.domain import source, terraform_version
from iacq.domain import workspace as domain
from iacq.domain import workspace_secrets as secrets_domain
from iacq.domain.source import SourceKind
from iacq.domain.workspace import Workspace
from iacq.domain.workspace_secrets import WorkspaceSecrets
from iacq.errors import InvalidInput
from iacq.services import enqueuing, workspace_secrets
from iacq.services.core import Core
from iacq.store import pools, workspaces
from iacq.store.session import Transaction


def create(core: Core, workspace: Workspace, *, secrets: WorkspaceSecrets) -> Workspace:
    """Store a new workspace. Raises InvalidInput that names the option, Conflict if the name is taken."""
    domain.check_name(workspace.name)
    workspace = _checked(core, workspace, secrets)
    sealed = workspace_secrets.seal(core, workspace.name, secrets)
    return core.database.run(workspaces.insert, _with_names(workspace, secrets), secrets=sealed)


def update(core: Core, workspace: Workspace, *, added: WorkspaceSecrets, removed: Collection[str]) -> Workspace:
    """Store a changed workspace; secrets that are neither added nor removed by name stay.

    A variable that is now given in clear is no secret any more.
    """
    workspace = _checked(core, workspace, added)
    return core.database.run(_update, core, workspace, added, removed)


def _update(
    tx: Transaction, core: Core, workspace: Workspace, added: WorkspaceSecrets, removed: Collection[str]
) -> Workspace:
    # The row is locked: two updates at once lose no secret, nor does one beside `db reencrypt`.
    present = workspace_secrets.unseal(core, workspace.name, workspaces.secrets_of(tx, workspace.name, lock=True))
    kept = present.changed(added, removed).without(variables=workspace.variables, environment=workspace.environment)
    sealed = workspace_secrets.seal(core, workspace.name, kept)
    return workspaces.update(tx, _with_names(workspace, kept), secrets=sealed)


def _with_names(workspace: Workspace, secrets: WorkspaceSecrets) -> Workspace:
    return dataclasses.replace(
        workspace,
        secret_names=tuple(sorted(secrets.variables)),
        secret_environment=tuple(sorted(secrets.environment)),
    )


def _checked(core: Core, workspace: Workspace, secrets: WorkspaceSecrets) -> Workspace:
    if core.database.read(pools.find, workspace.pool) is None and workspace.pool != domain.DEFAULT_POOL:
        raise InvalidInput(
            f"there is no pool {workspace.pool!a}", field="--pool", hint="`iacq pool list`, or `iacq pool create`"
        )
    enqueuing.check_variables(workspace.variables, field="--var")
    enqueuing.check_variables(secrets.variables, field="--secret-var")
    secrets_domain.check_added(secrets)
    for option, plain, hidden in (
        ("var", workspace.variables, secrets.variables),
        ("env", workspace.environment, secrets.environment),
    ):
        both = plain.keys() & hidden.keys()
        if both:
            raise InvalidInput(
                f"{min(both)} is given as --{option} and as --secret-{option}", field=f"--secret-{option}"
            )
    if workspace.terraform_version is not None:
        core.terraforms.check(terraform_version.check(workspace.terraform_version))
    location = source.checked(workspace.source, core.settings.git_protocols)
    if location.kind is not SourceKind.GIT:
        core.source.look(location)
    return dataclasses.replace(workspace, subdir=location.subdir)
