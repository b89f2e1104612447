"""Managed state: what a workspace without a remote backend has, version by version."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from iacq.domain import state_file
from iacq.domain.run import Run
from iacq.domain.source import SourceLocation
from iacq.errors import InvalidInput, NotFound
from iacq.ports import SourceFacts
from iacq.services.core import Core, bound_to, load_artifact
from iacq.store import artifacts, runs, states, workspaces
from iacq.store.session import Transaction
from iacq.store.states import NewState, StateVersion

ERRORED = "errored_state"
"""Kind of the artifact: the state that terraform could not store, as its errored.tfstate had it."""


def bound(workspace: str) -> str:
    """Name what the sealed states of a workspace belong to."""
    return bound_to(workspace, 0, "state")


def prepare(core: Core, workspace: str, data: bytes) -> NewState | None:
    """Read and seal a state; None for an empty file: terraform was killed before the first resource."""
    found = state_file.read(data)
    if found is None:
        return None
    return NewState(
        lineage=found.lineage,
        serial=found.serial,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        resources=len(found.resources),
        sealed=core.sealer.seal(data, bound_to=bound(workspace)),
    )


def current(core: Core, workspace: str) -> tuple[StateVersion, bytes] | None:
    """Return the newest version and its content."""
    found = core.database.read(states.newest, workspace)
    if found is None:
        return None
    version, sealed = found
    return version, core.sealer.open(sealed, bound_to=bound(workspace))


def outputs(core: Core, workspace: str) -> dict[str, Any] | None:
    """Return the outputs in the newest managed state; None if there is none."""
    present = current(core, workspace)
    state = state_file.read(present[1]) if present else None
    if state is None:
        return None
    return {
        name: {"value": output.value, "type": output.type, "sensitive": output.sensitive}
        for name, output in state.outputs.items()
    }


def pull(core: Core, workspace: str, version: int | None = None) -> bytes:
    """Return the content of a version (the newest one by default). Raises NotFound."""
    if version is None:
        newest = core.database.read(states.current, workspace)
        if newest is None:
            core.database.read(workspaces.get, workspace)
            raise NotFound(f"workspace {workspace} has no managed state yet", field="workspace")
        version = newest.version
    sealed = core.database.read(states.sealed, workspace, version)
    if sealed is None:
        raise NotFound(f"workspace {workspace} has no state version {version}", field="version")
    return core.sealer.open(sealed, bound_to=bound(workspace))


def pull_errored(core: Core, workspace: str, run: Run) -> bytes:
    """Return the errored.tfstate that a run of this workspace left. Raises NotFound."""
    if run.workspace != workspace:
        raise NotFound(f"run {run.id} is one of workspace {run.workspace}", field="--errored")
    if core.database.read(artifacts.find, run.id, ERRORED) is None:
        raise NotFound(
            f"run {run.id} left no errored.tfstate: its state was stored, or it wrote none", field="--errored"
        )
    return load_artifact(core, workspace, run.id, ERRORED)


def save_file(
    core: Core, workspace: str, file: Path, *, run_id: int, fence: int, effects_fence: int | None
) -> StateVersion | None:
    """Save the state file that an apply left, as a version; None: there is none.

    Raises InvalidInput if it cannot be read, Conflict if it does not follow the newest version, PhaseFailed, Raced.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    new = prepare(core, workspace, data)
    if new is None:
        return None
    return core.database.run(save, workspace, new, run_id=run_id, fence=fence, effects_fence=effects_fence)


def save(
    tx: Transaction, workspace: str, new: NewState, *, run_id: int, fence: int, effects_fence: int | None
) -> StateVersion:
    """Add the version that an apply left. Raises Raced if the run is not the writer's any more."""
    runs.require_writer(tx, run_id, fence, effects_fence)
    return states.add(tx, workspace, new, run_id=run_id)


def save_working(
    tx: Transaction, workspace: str, new: NewState, *, run_id: int, fence: int, effects_fence: int | None
) -> None:
    """Replace the working row while an apply runs. Raises Raced if the run is not the writer's any more."""
    runs.require_writer(tx, run_id, fence, effects_fence)
    states.put_working(tx, workspace, new, run_id=run_id)


def check_source(
    core: Core, workspace: str, location: SourceLocation, facts: SourceFacts, *, import_state: bool, ignore_state: bool
) -> None:
    """Judge what a source says about its state, before anything is made of it.

    Raises InvalidInput: `cloud {}`; a terraform.tfstate with content while the workspace has no state and nobody said
    what to do with it. With `import_state` it becomes the workspace's first version.
    """
    if facts.configuration.cloud:
        raise InvalidInput(
            f"{location.text} has a `cloud` block: HCP Terraform would run it elsewhere",
            field=location.field,
            hint="remove the block, or replace it with a backend",
        )
    if facts.state is None or facts.configuration.backend not in (None, "local") or ignore_state:
        return
    if core.database.read(states.current, workspace) is not None:
        return
    if not import_state:
        raise InvalidInput(
            f"{location.text} holds a terraform.tfstate, and workspace {workspace} has no state yet",
            field=location.field,
            hint="--import-state takes it over as the state of the workspace; --ignore-state begins without it",
        )
    new = prepare(core, workspace, facts.state)
    if new is not None:
        core.database.attempt(states.add, workspace, new, run_id=None)  # None: another enqueue imported it
