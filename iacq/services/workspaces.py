"""Create and change workspaces."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from iacq.domain import source, terraform_version
from iacq.domain import workspace as domain
from iacq.domain.source import SourceKind
from iacq.domain.workspace import Workspace
from iacq.errors import InvalidInput
from iacq.services import enqueuing
from iacq.services.core import Core
from iacq.store import pods, workspaces


def create(core: Core, workspace: Workspace, *, secret_variables: Mapping[str, str]) -> Workspace:
    """Store a new workspace. Raises InvalidInput that names the option, Conflict if the name is taken."""
    domain.check_name(workspace.name)
    workspace = _checked(core, workspace, secret_variables)
    workspace = _with_names(workspace, secret_variables)
    return core.database.run(workspaces.insert, workspace, secrets=_seal(core, workspace.name, secret_variables))


def update(core: Core, workspace: Workspace, *, secret_variables: Mapping[str, str] | None) -> Workspace:
    """Store a changed workspace; secret_variables: None keeps those it has, else they are added to those."""
    hidden = dict(_open(core, workspace.name)) | dict(secret_variables or {})
    kept = {name: value for name, value in hidden.items() if name not in workspace.variables}
    workspace = _checked(core, workspace, secret_variables or {})
    workspace = _with_names(workspace, kept)
    return core.database.run(workspaces.update, workspace, secrets=_seal(core, workspace.name, kept))


def _with_names(workspace: Workspace, secret_variables: Mapping[str, str]) -> Workspace:
    return dataclasses.replace(workspace, secret_names=tuple(sorted(secret_variables)))


def _checked(core: Core, workspace: Workspace, secret_variables: Mapping[str, str]) -> Workspace:
    if core.database.read(pods.max_pods, workspace.pool) is None and workspace.pool != domain.DEFAULT_POOL:
        raise InvalidInput(f"there is no pool {workspace.pool!a}", field="--pool")
    enqueuing.check_variables(workspace.variables, field="--var")
    enqueuing.check_variables(secret_variables, field="--secret-var")
    both = set(workspace.variables) & set(secret_variables)
    if both:
        raise InvalidInput(f"{min(both)} is given as --var and as --secret-var", field="--secret-var")
    if workspace.terraform_version is not None:
        core.terraforms.check(terraform_version.check(workspace.terraform_version))
    location = source.checked(workspace.source, core.settings.git_protocols)
    if location.kind is not SourceKind.GIT:
        core.source.look(location)
    return dataclasses.replace(workspace, subdir=location.subdir)


def _seal(core: Core, name: str, secret_variables: Mapping[str, Any]) -> bytes | None:
    if not secret_variables:
        return None
    plain = json.dumps(dict(secret_variables)).encode()
    return core.sealer.seal(plain, bound_to=enqueuing.secrets_bound_to(name))


def _open(core: Core, name: str) -> Mapping[str, str]:
    sealed = core.database.read(workspaces.secrets_of, name)
    if not sealed:
        return {}
    found: dict[str, str] = json.loads(core.sealer.open(bytes(sealed), bound_to=enqueuing.secrets_bound_to(name)))
    return found
