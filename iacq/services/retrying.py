"""Ask again for what an ended run asked for."""

from __future__ import annotations

import dataclasses

from iacq.domain import transitions
from iacq.domain.run import Run, Status
from iacq.errors import Conflict, NotFound
from iacq.services import confirming, enqueuing
from iacq.services.core import Core, load_artifact
from iacq.services.enqueuing import Inputs, Request
from iacq.store import workspaces


def retry(core: Core, run_id: int, *, by: str, import_state: bool = False, ignore_state: bool = False) -> Run:
    """Enqueue a run with the inputs of an ended one and the source as it is now; returns the new run.

    Nothing is applied again: the new run makes a plan of its own, which waits for a confirmation whatever the policy.
    Raises NotFound; Conflict if the run has not ended, or is of an earlier workspace of that name.
    """
    old = confirming.get_run(core, run_id)
    if old.status not in transitions.ENDED:
        raise Conflict(
            f"run {run_id} has not ended: it is {old.status}",
            field="run",
            hint=f"`iacq run resolve {run_id} --applied|--failed --comment …` first"
            if old.status is Status.APPLY_INTERRUPTED
            else f"`iacq cancel {run_id}` ends it",
        )
    workspace = core.database.read(workspaces.get, old.workspace)
    if old.created_at < workspace.created_at:
        raise Conflict(
            f"run {run_id} is of an earlier workspace {old.workspace}, which was deleted",
            field="run",
            hint=f"enqueue a new run of the workspace, for example `iacq apply {old.workspace}`",
        )
    inputs = _inputs_of(core, old)
    request = Request(
        workspace=old.workspace,
        run_type=old.run_type,
        by=by,
        options=inputs.options,
        priority=old.priority,
        message=old.message,
        auto_apply=False,
        import_state=import_state,
        ignore_state=ignore_state,
        retry_of=old.id,
    )
    enqueuing.check_request(request)
    return enqueuing.enqueue_frozen(core, workspace, request, inputs, enqueuing.request_digest(request, inputs))


def _inputs_of(core: Core, run: Run) -> Inputs:
    try:
        found = Inputs.from_json(load_artifact(core, run.workspace, run.id, enqueuing.INPUTS))
    except NotFound as error:
        raise NotFound(
            f"what run {run.id} was enqueued with is not stored any more",
            field="run",
            hint=f"enqueue a new run of the workspace, for example `iacq apply {run.workspace}`",
        ) from error
    # A lock is removed once, on somebody's word: by now the same command could remove that of somebody else.
    return dataclasses.replace(found, options=dataclasses.replace(found.options, unlock=None))
