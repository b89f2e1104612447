"""Keep pools frozen as it is decided: mark them, and take from them what must not go on there.

A freeze is a condition, not a moment: each round looks anew at what there is in a frozen pool, so that it also finds
what finished, came back or was adopted meanwhile. Pods in which nothing is held are the scaler's, which is rung.
"""

from __future__ import annotations

from iacq import log
from iacq.domain import transitions
from iacq.domain.run import Run, Status
from iacq.domain.transitions import Cause
from iacq.messages import BEGIN_WARMUPS, DISPATCH, RECONCILE_PODS
from iacq.services.core import Apart, Core
from iacq.store import freezes, runs, slots
from iacq.store.freezes import PoolFreezes
from iacq.store.protocol import waiting, warming
from iacq.store.session import Transaction

logger = log.get(__name__)


def apply_windows(core: Core) -> int:
    """Mark every pool as it is decided, and empty those that are frozen; returns how many runs were told to go."""
    told, marked, open_pools = 0, False, set()
    for found in core.database.read(freezes.listed):
        with Apart(pool=found.pool):
            present = found if found.settled else core.database.run(_settle, found.pool)
            if present.frozen_since != found.frozen_since:
                marked = True
                logger.info("%s", present.text, extra=log.ids(pool=found.pool))
            if present.frozen_since is None:
                open_pools.add(found.pool)
            else:
                told += _empty(core, present, present.frozen_since)
    for run in core.database.read(runs.asked_to_stop):
        if run.pool in open_pools:
            core.database.attempt(waiting.withdraw_stop, run)
    if marked or told:
        core.ring_control(DISPATCH)
        core.ring_control(RECONCILE_PODS)
        core.ring_control(BEGIN_WARMUPS)
    return told


def _settle(tx: Transaction, pool: str) -> PoolFreezes:
    freezes.lock(tx, pool)
    return freezes.settle(tx, pool)


def _empty(core: Core, pool: PoolFreezes, since: int) -> int:
    grace = core.settings.freeze_apply_grace
    over = grace is not None and pool.now - since >= grace * 1000
    told = 0
    for run in core.database.read(runs.listed, pool=pool.pool, statuses=transitions.QUEUED | transitions.RUNNING):
        with Apart(run=run.id, workspace=run.workspace):
            told += _take_back(core, run) if run.status in transitions.QUEUED else _ask(core, run, begun=over)
    for slot in core.database.read(slots.reserved_of_pool, pool.pool):
        with Apart(slot=slot.queue, run=slot.run_id):
            kept = core.database.read(runs.get, slot.run_id or 0)
            if kept is not None:
                told += core.database.attempt(waiting.give_up_reservation, kept, slot) is not None
    core.database.run(warming.reset, pool.pool)
    return told


def _take_back(core: Core, run: Run) -> bool:
    back = core.database.attempt(waiting.take_back, run, cause=Cause.FROZEN)
    return back is not None


def _ask(core: Core, run: Run, *, begun: bool) -> bool:
    """Ask its owner to stop: a plan, an apply that has no effects yet; one that has, once its grace is over (begun)."""
    if run.freeze_requested_at is not None or (run.effects_at is not None and not begun):
        return False
    asked = core.database.attempt(waiting.request_stop, run, begun=begun and run.status is Status.APPLYING)
    if asked is None:
        return False
    logger.info("asked to stop: its pool froze", extra=log.ids(run=run.id, workspace=run.workspace))
    core.wake_owner(asked)
    return True
