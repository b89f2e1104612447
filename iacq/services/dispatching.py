"""Give what can start to slots that are free."""

from __future__ import annotations

from dataclasses import dataclass, field

from iacq import log
from iacq.domain import placement, queueing
from iacq.domain.queueing import Candidate
from iacq.domain.run import Run, Status
from iacq.domain.slot import PodStatus, Slot, SlotStatus
from iacq.services.core import Apart, Core
from iacq.store import outbox, pods, pools, queue, runs, slots
from iacq.store.protocol import waiting
from iacq.store.session import Transaction

logger = log.get(__name__)


def dispatch(core: Core) -> int:
    """Dispatch everything that can start now; returns how many runs got a slot."""
    dispatched = 0
    free = core.database.read(slots.listed)
    if not any(slot.usable or slot.status is SlotStatus.RESERVED for slot in free):
        return dispatched  # the others give nobody a place; whoever frees one rings again
    present = Present(slots=free)
    for candidate in core.database.read(_candidates):
        if candidate.pool in present.full and candidate.status is not Status.CONFIRMED:
            continue
        with Apart(run=candidate.id, workspace=candidate.workspace):
            dispatched += _dispatch(core, candidate, present)
    return dispatched


@dataclass
class Present:
    """What one round of dispatching knows."""

    slots: list[Slot]  # as they were after the last step
    full: set[str] = field(default_factory=set)  # pools without a free slot


def _dispatch(core: Core, candidate: Candidate, present: Present) -> bool:
    run = core.database.read(runs.get, candidate.id)
    if run is None or run.status is not candidate.status:
        return False
    bell = core.database.attempt(waiting.dispatch_to_own_slot, run) if run.status is Status.CONFIRMED else None
    if bell is None and run.pool not in present.full:
        slot = placement.choose_slot(run.pool, present.slots) or _free_reserved_slot(core, run)
        if slot is None:
            present.full.add(run.pool)
            return False
        bell = core.database.attempt(waiting.dispatch, run, slot)
        present.slots = core.database.read(slots.listed)
    if bell is None:
        return False
    core.ring(bell)
    logger.info("%s queued in %s", bell.phase, bell.queue, extra=log.ids(run=run.id, workspace=run.workspace))
    return True


def _candidates(tx: Transaction) -> list[Candidate]:
    by_workspace, by_caller = queue.running_counts(tx)
    return queueing.order_by_share(queue.confirmed(tx) + queue.startable(tx), by_workspace, by_caller)


def _free_reserved_slot(core: Core, run: Run) -> Slot | None:
    """At the pool's maximum, give up the oldest reservation of an unread plan for this run; returns its slot."""
    if not core.database.read(_at_maximum, run.pool):
        return None
    unread = {found.id: found for found in core.database.read(runs.listed, statuses=[Status.APPLY_PENDING])}
    present = core.database.read(slots.listed, pool=run.pool)
    given_up = placement.choose_reservation(run.pool, present, set(unread) - {run.id})
    if given_up is None or given_up.run_id is None:
        return None
    core.database.attempt(waiting.give_up_reservation, unread[given_up.run_id], given_up)
    logger.info(
        "its reservation was given up for run %d; its apply will start cold",
        run.id,
        extra=log.ids(run=given_up.run_id),
    )
    return placement.choose_slot(run.pool, core.database.read(slots.listed, pool=run.pool))


def _at_maximum(tx: Transaction, pool: str) -> bool:
    found = pools.find(tx, pool)
    online = sum(pod.pool == pool and pod.status == PodStatus.ONLINE for pod in pods.listed(tx))
    return found is None or online >= found.policy.max_pods


def resend(core: Core) -> int:
    """Ring the bells again that nobody answered; returns how many."""
    bells = core.database.run(outbox.take_due)
    return sum(core.ring(bell) for bell in bells)
