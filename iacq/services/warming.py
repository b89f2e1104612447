"""Prepare runs that lost their slot in other slots, while those are free; and end that in time."""

from __future__ import annotations

from collections import defaultdict

from iacq import log
from iacq.domain import placement, transitions
from iacq.domain.run import Run, WarmupStatus
from iacq.domain.slot import Closed, Slot
from iacq.errors import Unavailable
from iacq.messages import BEGIN_WARMUPS, DISPATCH, WarmupBell
from iacq.services.core import Apart, Core
from iacq.store import demand, queue, slots
from iacq.store.protocol import waiting, warming

logger = log.get(__name__)


def begin(core: Core) -> int:
    """Begin the warm-ups for which there is room, and ring again for those that nobody took; returns how many began.

    Room is what no run could use that can start now.
    """
    for run in core.database.read(warming.unclaimed):
        with Apart(run=run.id):
            _ring(core, warming.bell_of(run))
    wanted: dict[str, list[Run]] = defaultdict(list)
    for run in core.database.read(warming.unprepared, retries=core.settings.warmup_retries):
        wanted[run.pool].append(run)
    free = core.database.read(slots.free_by_pool) if wanted else {}
    return sum(_begin_in(core, pool, runs, free[pool]) for pool, runs in wanted.items() if pool in free)


def _begin_in(core: Core, pool: str, wanted: list[Run], free: int) -> int:
    starting = {run.id for run in core.database.read(queue.confirmed, [pool])}  # it gets a slot for its apply
    spare = (
        free - core.database.read(demand.count, pool, at_most=free, warmups=core.settings.warmup_retries).queue_depth
    )
    begun = 0
    for run in wanted:
        if begun >= spare:
            break
        with Apart(run=run.id, workspace=run.workspace):
            slot = _choose(core, run)
            if slot is not None and run.id not in starting:
                begun += _begin(core, run, slot)
    return begun


def _choose(core: Core, run: Run) -> Slot | None:
    found = core.database.read(slots.with_room, run.pool, pods=1, needs=run.needs_protocol)
    return placement.choose_slot(run.pool, found, needs=run.needs_protocol)


def _begin(core: Core, run: Run, slot: Slot) -> bool:
    within_ms = int(core.settings.claim_timeout * 1000)
    bell = core.database.attempt(warming.begin, run, slot, claim_within_ms=within_ms)
    if bell is None:
        return False
    logger.info("warm-up %d in %s", bell.retry, bell.queue, extra=log.ids(run=run.id, workspace=run.workspace))
    _ring(core, bell)
    return True


def _ring(core: Core, bell: WarmupBell) -> None:
    try:
        core.dispatcher.ring_warmup(bell)
    except Unavailable as error:
        logger.warning("%s; it is rung again", error.message, extra=log.ids(run=bell.run_id))


def expire(core: Core) -> int:
    """Free slots whose warm-up nobody took or ended in time, or that were ready for too long; returns how many."""
    ended = 0
    for run in core.database.read(warming.overdue):
        with Apart(run=run.id, workspace=run.workspace):
            ended += _expire(core, run)
    if ended:
        core.ring_control(DISPATCH)
        core.ring_control(BEGIN_WARMUPS)
    return ended


def _expire(core: Core, run: Run) -> bool:
    ids = log.ids(run=run.id, pod=run.prepared_pod_name, slot=run.prepared_slot_id)
    if run.warmup_status is WarmupStatus.READY:
        expired = core.database.attempt(warming.expire, run)
        if expired is not None:
            logger.info("its warm-up expired", extra=ids)
        return expired is not None
    # What is queued behind a warm-up waits for the same process.
    step = waiting.take_back if run.status in transitions.QUEUED else warming.give_up
    given_up = core.database.attempt(step, run, close_slot=Closed.NOT_ANSWERING)
    if given_up is not None:
        logger.warning("its warm-up came to nothing: the slot is closed until it answers", extra=ids)
    return given_up is not None
