"""What a new slot process does about the work of its predecessor, before it takes any of its own; and what a living one
does about a phase that could not tell how it ended.

Its predecessor may have been killed at any point, and its terraform may live on under the keeper. A living apply is
adopted; a living plan is killed and its run planned again; what was not started goes back. The slot opens once nothing
of an earlier run is alive in it.
"""

from __future__ import annotations

from pathlib import Path

from iacq import log
from iacq.domain import transitions
from iacq.domain.run import Phase, Run, Status, WarmupStatus
from iacq.domain.transitions import Cause
from iacq.keeper import files
from iacq.keeper.files import JobDirectory
from iacq.messages import BEGIN_WARMUPS, DISPATCH
from iacq.ports import RunTree
from iacq.services.phases import ending, remains, runner, warmup
from iacq.services.phases.context import SlotWorker
from iacq.services.phases.lease import Lease
from iacq.store import runs, slots, workspaces
from iacq.store.protocol import owning, recovering
from iacq.store.protocol.owning import Hold

logger = log.get(__name__)


def settle(worker: SlotWorker) -> bool:
    """Do what can be done now; returns whether nothing of an earlier run is left, and the slot may open.

    An adopted apply is followed to its end before this returns. Called again while it returns False.
    """
    core, place = worker.core, worker.place
    worker.look_again = False
    settled = [_settle_job(worker, found) for found in files.list_jobs(worker.jobs)]
    clear = all(settled)
    slot = core.database.read(slots.at, place.pod_name, place.slot_id)
    if slot is not None and slot.run_id is not None:
        run = core.database.read(runs.get, slot.run_id)
        if run is not None and run.warmup_status is WarmupStatus.WARMING:
            warmup.settle(worker, run)
        elif run is not None and run.owner != place.owner:
            clear = _settle_run(worker, run) and clear
    return clear


def is_left(worker: SlotWorker) -> bool:
    """Tell whether something of an earlier process runs, or of an apply is there whose end may not be told yet."""
    return any(found.step == "apply" or files.is_alive(found.path) for found in files.list_jobs(worker.jobs))


def running(worker: SlotWorker) -> list[Path]:
    """Return the directories of this slot's jobs of which something is alive."""
    return [found.path for found in files.list_jobs(worker.jobs) if files.is_alive(found.path)]


def _settle_job(worker: SlotWorker, found: JobDirectory) -> bool:
    """Settle one command of an earlier process; tells whether nothing of it is alive."""
    run = worker.core.database.read(runs.get, found.run_id)
    launch = files.read_launch(found.path)
    is_apply = found.step == "apply"
    if is_apply and run is not None and run.effects_fence == found.fence and run.status not in transitions.ENDED:
        return _settle_apply(worker, run, found)
    if is_apply and run is not None and run.status is Status.APPLYING and run.fence == found.fence:
        return False  # the point of no return of a dead process may be about to be committed; `owner_gone` decides that
    if launch is not None and files.is_alive(found.path):
        if is_apply:
            return False  # its run was resolved by force; it is not ours to kill
        worker.keeper.kill(found.path)
        return False
    if run is None or run.status is not Status.APPLY_INTERRUPTED:
        files.forget(found.path)  # of an interrupted apply it is evidence
    return True


def _settle_apply(worker: SlotWorker, run: Run, found: JobDirectory) -> bool:
    result = files.read_result(found.path)
    if result is not None and result.never:
        return _never_started(worker, run, found.fence)
    if result is None and files.read_launch(found.path) is None:
        return worker.keeper.word(found.path, run_id=run.id, fence=found.fence) and _never_started(
            worker, run, found.fence
        )
    alive = files.is_alive(found.path)
    if not alive and run.status is Status.APPLY_INTERRUPTED and not _is_held(worker, run):
        return True  # its end was proven before, and what it left was kept then
    tree = remains.tree_of(worker.workshop, run, found.fence)
    if alive or (result is not None and tree is not None):
        return tree is not None and _adopt(worker, run, found.path, found.fence, tree)
    # Nobody is left who could tell all of it. Only an interrupted run has nobody who may still tell it.
    return run.status is Status.APPLY_INTERRUPTED and remains.collect(worker, run, found.path, found.fence)


def _is_held(worker: SlotWorker, run: Run) -> bool:
    return worker.core.database.read(slots.held_by, run.id) is not None


def _adopt(worker: SlotWorker, run: Run, directory: Path, effects_fence: int, tree: RunTree) -> bool:
    core, place = worker.core, worker.place
    began, boottime, lease_s = core.clock.monotonic(), core.clock.boottime(), core.settings.lease
    adopted = core.database.attempt(recovering.adopt, run.id, effects_fence, place, lease_ms=int(lease_s * 1000))
    if adopted is None:
        return False
    logger.warning("adopted a running apply", extra=log.ids(run=run.id, slot=place.queue))
    hold = Hold(run_id=run.id, phase=Phase.APPLY, fence=adopted.fence, owner=place.owner)
    lease = Lease(
        core,
        worker.threads,
        hold,
        stage="apply",
        valid_until=boottime + lease_s,
        cancel_requested=adopted.cancel_requested_at is not None,
        freeze_requested=adopted.freeze_requested_at is not None,
    )
    sealed_secrets = core.database.read(workspaces.secrets_of, run.workspace)
    with runner.held(worker, adopted, lease, began, sealed_secrets) as ctx:
        ctx.tree = tree
        ctx.log.write(f"Adopted by a new process of slot {place.queue}; terraform went on meanwhile")
        ending.continue_apply(ctx, directory, effects_fence)
    core.ring_control(DISPATCH)
    return True


def _never_started(worker: SlotWorker, run: Run, effects_fence: int) -> bool:
    """A keeper's word: back to confirmed, or failed if it was interrupted already."""
    core, place = worker.core, worker.place
    if core.database.attempt(recovering.never_started, run.id, effects_fence) is not None:
        return True
    adopted = core.database.attempt(
        recovering.adopt, run.id, effects_fence, place, lease_ms=int(core.settings.lease * 1000)
    )
    if adopted is None:
        return False
    hold = Hold(run_id=run.id, phase=Phase.APPLY, fence=adopted.fence, owner=place.owner)
    core.database.attempt(owning.give_back, hold, Cause.NOT_STARTED)
    core.ring_control(DISPATCH)
    return True


def _settle_run(worker: SlotWorker, run: Run) -> bool:
    """Settle the run that holds this slot and is not ours; tells whether the slot may open."""
    core, place = worker.core, worker.place
    if run.status not in (Status.PLANNING, Status.APPLYING, Status.APPLY_INTERRUPTED):
        return True
    if run.effects_fence is None:
        back = core.database.attempt(recovering.owner_gone, run.id, run.fence, place)
        if back is not None:
            logger.warning("its slot process died: now %s", back.status, extra=log.ids(run=run.id))
            core.ring_control(DISPATCH)
        return back is not None
    # With effects, its job directory was made before they were: `_settle_job` has it. If there is none this is another
    # disk under the same name, and nobody here can tell whether terraform was started: a person decides.
    return False


def open_slot(worker: SlotWorker) -> bool:
    """Offer the slot for work; tells whether it is open. It is not before this boot of the pod is registered."""
    core, place = worker.core, worker.place
    if core.database.run(slots.open_again, place):
        logger.info("open", extra=log.ids(slot=place.queue))
        core.ring_control(DISPATCH)
        core.ring_control(BEGIN_WARMUPS)
    slot = core.database.read(slots.at, place.pod_name, place.slot_id)
    return slot is not None and slot.agent_id == place.agent_id and slot.closed is None
