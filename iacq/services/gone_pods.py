"""What becomes of the runs of a pod that is proven gone: nothing of it is alive, so nobody need be waited for."""

from __future__ import annotations

from iacq import log
from iacq.domain import transitions
from iacq.domain.run import Run, Status
from iacq.domain.slot import Slot
from iacq.services.core import Apart, Core
from iacq.services.recovering import settle_slots
from iacq.store import runs, slots
from iacq.store.protocol import recovering

logger = log.get(__name__)


def settle(core: Core, pod_name: str) -> bool:
    """Free every slot of the pod; tells whether nothing is held there any more.

    What waited goes elsewhere, a plan is made again, an apply that had no effects yet goes back; one with effects is
    `apply_interrupted`, with the proof that its terraform has ended.
    """
    held = core.database.read(slots.held_in, pod_name)
    settle_slots(core, held)
    for slot in core.database.read(slots.held_in, pod_name):
        with Apart(slot=slot.queue, run=slot.run_id):
            _settle(core, slot)
    return not core.database.read(slots.held_in, pod_name)


def _settle(core: Core, slot: Slot) -> None:
    run = core.database.read(runs.get, slot.run_id or 0)
    if run is None:
        return  # its row is broken
    taken: Run | None = None
    if run.status in transitions.RUNNING:
        taken = core.database.attempt(recovering.lose_pod, run)
    elif run.status is Status.APPLY_INTERRUPTED and run.effects_fence is not None:
        taken = core.database.attempt(recovering.prove_end, run.id, run.effects_fence)
    if taken is not None:
        logger.warning("its pod is gone: now %s", taken.status, extra=log.ids(run=run.id, slot=slot.queue))
