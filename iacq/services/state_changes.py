"""People give a managed state: checked, audited, and never while a run may write it."""

from __future__ import annotations

from iacq import log
from iacq.domain.run import Run, Status
from iacq.errors import Conflict, InvalidInput
from iacq.services import states
from iacq.services.core import Core
from iacq.store import queue, runs, workspaces
from iacq.store import states as rows
from iacq.store.session import Transaction
from iacq.store.states import NewState, Push, StateVersion

logger = log.get(__name__)


def push(core: Core, workspace: str, data: bytes, given: Push) -> StateVersion:
    """Make `data` the newest version.

    Raises InvalidInput if it is no state, or is forced without a reason; NotFound; Conflict while a run changes the
    workspace, where its configuration keeps the state elsewhere, or if it does not follow the newest version.
    """
    require_reason(force=given.force, reason=given.reason)
    new = states.prepare(core, workspace, data)
    if new is None:
        raise InvalidInput("the state is empty", field="FILE", code="bad_state")
    if not new.lineage:
        raise InvalidInput("the state has no lineage: terraform did not write it", field="FILE", code="bad_state")
    pushed = core.database.run(_push, workspace, new, given)
    logger.info("state version %d pushed by %s", pushed.version, given.by, extra=log.ids(workspace=workspace))
    return pushed


def require_reason(*, force: bool, reason: str | None) -> None:
    """Raise InvalidInput if something is forced and nobody says why."""
    if force and not (reason or "").strip():
        raise InvalidInput("say why it is forced", field="--reason")


def _push(tx: Transaction, workspace: str, new: NewState, given: Push) -> StateVersion:
    workspaces.hold_alone(tx, workspace)
    require_no_active_run(tx, workspace)
    if keeps_its_own(tx, workspace) and not given.force:
        raise Conflict(
            f"the configuration of workspace {workspace} keeps its state in a backend of its own",
            field="workspace",
            hint="push it there: `terraform state push FILE` in a checkout of the configuration",
            code="own_backend",
        )
    try:
        return rows.add(tx, workspace, new, run_id=None, push=given)
    except Conflict as error:
        error.hint = f"compare with `iacq state pull {workspace}`; --force --reason … makes it the newest version"
        raise


def require_no_active_run(tx: Transaction, workspace: str) -> None:
    """Raise Conflict while a state-changing run of the workspace is between its plan and its end."""
    active = queue.active_of(tx, workspace)
    if active is not None:
        raise Conflict(
            f"run {active.id} holds the state of workspace {workspace}: it is {active.status}",
            field="workspace",
            hint=_way_out(active),
            code="state_held",
        )


def _way_out(run: Run) -> str:
    if run.status is Status.APPLY_INTERRUPTED:
        return f"`iacq show {run.id}`, then `iacq run resolve {run.id} --applied|--failed --comment …`"
    if run.status is Status.APPLY_PENDING:
        return f"`iacq confirm {run.id}` or `iacq discard {run.id}`"
    return f"wait for its end (`iacq logs {run.id} -f`), or `iacq cancel {run.id}`"


def keeps_its_own(tx: Transaction, workspace: str) -> bool:
    """Tell whether the newest plan that could be applied found a backend of the configuration's own."""
    planned = next((run for run in runs.listed(tx, workspace=workspace, limit=_LOOK_BACK) if run.fingerprint), None)
    return planned is not None and planned.planned_state is None


_LOOK_BACK = 50
"""Runs that are looked at, newest first."""
