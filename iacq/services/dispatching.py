"""Give what can start to slots that are free."""

from __future__ import annotations

from iacq import log
from iacq.domain import placement, queueing
from iacq.domain.run import Run, Status
from iacq.domain.slot import Slot
from iacq.services.core import Core
from iacq.store import outbox, pods, queue, runs, slots
from iacq.store.protocol import waiting
from iacq.store.session import Transaction

logger = log.get(__name__)


def dispatch(core: Core) -> int:
    """Dispatch everything that can start now; returns how many runs got a slot."""
    dispatched = 0
    full: set[str] = set()  # pools without a free slot: whoever frees one rings again
    for run in core.database.read(_candidates):
        bell = core.database.attempt(waiting.dispatch_to_own_slot, run) if run.status is Status.CONFIRMED else None
        if bell is None:
            slot = _find_slot(core, run) if run.pool not in full else None
            if slot is None:
                full.add(run.pool)
                continue
            bell = core.database.attempt(waiting.dispatch, run, slot)
        if bell is not None:
            core.ring(bell)
            dispatched += 1
            logger.info("%s queued in %s", bell.phase, bell.queue, extra=log.ids(run=run.id, workspace=run.workspace))
    return dispatched


def _candidates(tx: Transaction) -> list[Run]:
    by_workspace, by_caller = queue.running_counts(tx)
    return queueing.order_by_share(queue.confirmed(tx) + queue.startable(tx), by_workspace, by_caller)


def _find_slot(core: Core, run: Run) -> Slot | None:
    """Find a free slot; at the pool's maximum, the oldest reservation of an unread plan is given up for it."""
    present = core.database.read(slots.listed, pool=run.pool)
    slot = placement.choose_slot(run.pool, present)
    if slot is not None or not core.database.read(_at_maximum, run.pool):
        return slot
    unread = {found.id: found for found in core.database.read(runs.listed, statuses=[Status.APPLY_PENDING])}
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
    maximum = pods.max_pods(tx, pool)
    online = sum(pod.pool == pool and pod.status == pods.ONLINE for pod in pods.listed(tx))
    return maximum is None or online >= maximum


def resend(core: Core) -> int:
    """Ring the bells again that nobody answered; returns how many."""
    bells = core.database.run(outbox.take_due)
    return sum(core.ring(bell) for bell in bells)
