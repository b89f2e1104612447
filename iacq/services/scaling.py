"""Bring a pool to the size that its runs need: look, decide, act through whoever makes pods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from iacq import log
from iacq.domain import placement, scaling_reasons
from iacq.domain import scaling as domain
from iacq.domain.pool import Demand, Pool, PoolPod
from iacq.domain.run import Status
from iacq.domain.scaling import Desired, Scaling
from iacq.domain.scaling_reasons import Reason
from iacq.domain.slot import SlotStatus
from iacq.messages import DISPATCH
from iacq.services.core import Apart, Core
from iacq.store import counts, demand, freezes, pods, pools, runs, slots
from iacq.store.protocol import waiting
from iacq.store.session import Transaction

logger = log.get(__name__)

_COUNTED = 1000
"""Startable runs are counted up to here at least, and up to what the largest size of the pool could run."""


class Pods(Protocol):
    """Who makes pods and lets them go."""

    def create_pod(self, pool: Pool, *, existing: int) -> str | None:
        """Ask for one more; None if somebody else decided about this pool meanwhile.

        existing: how many there were when one was lacking, offline ones not counted.
        """
        ...

    def drain_pod(self, name: str, *, reason: str) -> bool:
        """Close a pod in which nothing is held and let it go; tells whether it could be closed."""
        ...


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the decision about a pool is made of."""

    pool: Pool
    demand: Demand
    pods: Sequence[PoolPod]
    frozen: bool
    now: int  # ms, the database's clock


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do about a pool, and from what that follows."""

    inputs: Inputs
    scaling: Scaling

    def explain(self) -> list[Reason]:
        """Say why, for people."""
        seen = self.inputs
        return scaling_reasons.explain(seen.pool.policy, seen.demand, seen.pods, self.scaling, now=seen.now)


def look(tx: Transaction, name: str, *, warmups: int) -> Inputs:
    """Read what the size of a pool depends on. warmups: that one run may have. Raises NotFound."""
    pool = pools.get(tx, name)
    now = counts.now_ms(tx)
    return Inputs(
        pool=pool,
        demand=_count(tx, pool, warmups),
        pods=pods.of_pool(tx, name),
        frozen=freezes.is_frozen(tx, name),
        now=now,
    )


def _count(tx: Transaction, pool: Pool, warmups: int) -> Demand:
    at_most = max(_COUNTED, pool.policy.max_pods * pool.policy.slots_per_pod)
    return demand.count(tx, pool.name, at_most=at_most, warmups=warmups)


def desired_pods(tx: Transaction, *, warmups: int) -> dict[str, Desired]:
    """Return by pool how many pods it should have. Cheaper than a decision: what exists is not looked at."""
    frozen = freezes.sentences(tx)
    return {
        pool.name: domain.calculate_desired_pods(pool.policy, _count(tx, pool, warmups), frozen=pool.name in frozen)
        for pool in pools.listed(tx)
    }


def decide(core: Core, name: str) -> Decision:
    """Decide about a pool, and do nothing. Raises NotFound."""
    # A run that is dispatched between two statements would be counted as waiting, and its slot as taken.
    seen = core.database.read_at_once(look, name, warmups=core.settings.warmup_retries)
    decided = domain.decide_scaling(
        seen.pool.policy,
        seen.demand,
        seen.pods,
        frozen=seen.frozen,
        failures=seen.pool.failures,
        now=seen.now,
    )
    return Decision(inputs=seen, scaling=decided)


def scale(core: Core, manager: Pods, pool: Pool) -> Decision:
    """Bring a pool to its size. Doing it again, or twice at once, changes nothing more. Raises NotFound.

    What is to start is not started beyond what was seen: of two that saw the same lack, one starts each pod. What is
    to go, goes only if nothing is held in it then.
    """
    decision = decide(core, pool.name)
    wanted = decision.scaling
    if wanted.create or wanted.drain or wanted.give_up:
        why = {reason.code: reason.text for reason in decision.explain()}
        logger.info("%s; %s", why["result"], why["rule"], extra=log.ids(pool=pool.name))
    for existing in range(wanted.capacity.existing, wanted.capacity.existing + wanted.create):
        with Apart(pool=pool.name):
            if manager.create_pod(decision.inputs.pool, existing=existing) is None:
                break
    for pod in wanted.drain:
        with Apart(pod=pod):
            manager.drain_pod(pod, reason="the pool needs fewer pods")
    if give_up(core, pool.name, wanted.give_up):
        core.ring_control(DISPATCH)
    return decision


def give_up(core: Core, pool: str, number: int) -> int:
    """Give up the oldest reservations of plans that nobody confirmed, for work that waits; returns how many."""
    if not number:
        return 0
    present = core.database.read(slots.listed, pool=pool)
    reserved = [slot.run_id for slot in present if slot.status is SlotStatus.RESERVED and slot.run_id is not None]
    found = core.database.read(runs.among, reserved)
    unread = {run.id: run for run in found if run.status is Status.APPLY_PENDING}
    given_up = 0
    while given_up < number:
        slot = placement.choose_reservation(pool, present, set(unread))
        if slot is None or slot.run_id is None:
            break
        run = unread.pop(slot.run_id)
        if core.database.attempt(waiting.give_up_reservation, run, slot) is not None:
            given_up += 1
            logger.info(
                "the slot that was kept for it is given to work that waits", extra=log.ids(run=run.id, pool=pool)
            )
    return given_up
