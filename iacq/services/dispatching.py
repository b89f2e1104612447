"""Give what can start to slots that are free."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from iacq import log
from iacq.domain import placement
from iacq.domain.queueing import Candidate, Turns
from iacq.domain.run import Status
from iacq.domain.slot import Slot, SlotStatus
from iacq.messages import RECONCILE_PODS
from iacq.services import scaling
from iacq.services.core import Apart, Core
from iacq.store import demand, outbox, queue, slots, startable
from iacq.store.protocol import waiting
from iacq.store.session import Transaction
from iacq.store.startable import Reached

logger = log.get(__name__)

_PODS = 20
"""Pods whose free slots are read at once: the fullest ones."""
_SHORT_AGAIN = 1.0
"""Seconds after which a pool without a free slot is looked at again by the same control worker; and all of them, while
it finds work for slots."""


@dataclass
class Remembered:
    """What a dispatcher keeps between two rounds. It only saves work: a new one dispatches as well."""

    reached: Mapping[str, Reached] = field(default_factory=dict)  # by pool: how far its long queue was looked at
    short: dict[str, float] = field(default_factory=dict)  # by pool: when it was found without a free slot, monotonic
    looked: float = -math.inf  # when it was last asked which pools are short, monotonic


def dispatch(core: Core, remembered: Remembered | None = None) -> int:
    """Dispatch everything that can start now; returns how many runs got a slot.

    Where something waits and no slot is free, a reservation is given up at the pool's maximum; below it, pods are
    asked for.
    """
    remembered = remembered or Remembered()
    dispatched = 0
    while True:
        started, more = _dispatch_round(core, remembered)
        dispatched += started
        if started and more:
            continue
        if not _make_room(core, remembered, hurry=not started):
            return dispatched


def _dispatch_round(core: Core, remembered: Remembered) -> tuple[int, bool]:
    """Dispatch what one look finds; returns how many runs, and whether more may be found."""
    free, turns, reached = core.database.read(_look, remembered.reached)
    rooms = Rooms(core=core, free=free)
    remembered.reached = reached or {}
    started = 0
    for candidate in turns:
        if not rooms.may_have(candidate.pool, candidate.needs_protocol) and candidate.status is not Status.CONFIRMED:
            continue
        with Apart(run=candidate.id, workspace=candidate.workspace):
            if _dispatch(core, candidate, rooms):
                turns.count(candidate)
                started += 1
    return started, reached is not None and bool(rooms.free.keys() - rooms.lacking.keys())


@dataclass
class Rooms:
    """The free slots of each pool: read when the first one is needed, and again when those are used up."""

    core: Core
    free: dict[str, int]  # how many, by pool; one without any is not there
    known: dict[str, list[Slot]] = field(default_factory=dict)  # all slots of the fullest pods with a free one
    lacking: dict[str, int] = field(default_factory=dict)  # by pool: no free slot speaks this protocol, or a newer one

    def may_have(self, pool: str, needs: int) -> bool:
        """Tell whether the pool may have a free slot whose agent speaks this protocol."""
        return pool in self.free and (pool not in self.lacking or needs < self.lacking[pool])

    def choose(self, pool: str, needs: int) -> Slot | None:
        """Choose a free slot of the pool whose agent speaks this protocol."""
        if not self.may_have(pool, needs):
            return None
        chosen = placement.choose_slot(pool, self.known.get(pool, ()), needs=needs)
        if chosen is None:
            self.known[pool] = self.core.database.read(slots.with_room, pool, pods=_PODS, needs=needs)
            chosen = placement.choose_slot(pool, self.known[pool], needs=needs)
        if chosen is None:
            self.lacking[pool] = needs
        return chosen

    def note(self, slot: Slot, *, taken: bool) -> None:
        """Note what became of a choice. What is not as it was read, is read again."""
        if not taken:
            del self.known[slot.pool]
            return
        known = self.known[slot.pool]
        known[known.index(slot)] = replace(slot, status=SlotStatus.RUNNING)
        self.free[slot.pool] -= 1
        if not self.free[slot.pool]:
            del self.free[slot.pool]


def _dispatch(core: Core, candidate: Candidate, rooms: Rooms) -> bool:
    bell = None
    if candidate.status is Status.CONFIRMED:
        bell = core.database.attempt(waiting.dispatch_to_own_slot, candidate)
    if bell is None:
        slot = rooms.choose(candidate.pool, candidate.needs_protocol)
        if slot is None:
            return False
        bell = core.database.attempt(waiting.dispatch, candidate, slot)
        rooms.note(slot, taken=bell is not None)
    if bell is None:
        return False
    core.ring(bell)
    ids = log.ids(run=candidate.id, workspace=candidate.workspace)
    logger.info("%s queued in %s", bell.phase, bell.queue, extra=ids)
    return True


def _look(
    tx: Transaction, after: Mapping[str, Reached]
) -> tuple[dict[str, int], Turns[Candidate], Mapping[str, Reached] | None]:
    """Return the free slots by pool, who is to get them in turn, and how far the queues were looked at."""
    free = slots.free_by_pool(tx)
    confirmed = queue.confirmed(tx, free)
    found, reached = startable.find(tx, free, after) if free else ([], None)
    if not (confirmed or found):
        return free, Turns([], {}, {}), reached
    by_workspace, by_caller = queue.running_counts(tx)
    return free, Turns(confirmed + found, by_workspace, by_caller), reached


def _make_room(core: Core, remembered: Remembered, *, hurry: bool) -> bool:
    """Make room in pools where something waits and no slot is free; tells whether a slot came free.

    hurry: look now. Where the last look found work for a free slot, once in a while is enough.
    """
    now, freed = core.clock.monotonic(), 0
    if not hurry and now - remembered.looked < _SHORT_AGAIN:
        return False
    remembered.looked = now
    for pool in core.database.read(demand.short_pools):
        if now - remembered.short.get(pool, -_SHORT_AGAIN) < _SHORT_AGAIN:
            continue
        remembered.short[pool] = now
        with Apart(pool=pool):
            decided = scaling.decide(core, pool).scaling
            freed += scaling.give_up(core, pool, decided.give_up)
            if decided.create:
                core.ring_control(RECONCILE_PODS)
    return freed > 0


def resend(core: Core) -> int:
    """Ring the bells again that nobody answered; returns how many."""
    bells = core.database.run(outbox.take_due)
    return sum(core.ring(bell) for bell in bells)
