"""How many pods a pool should have, and which of them may go.

The rule counts slots: every run that could start now, that is under way, or that keeps its slot for a confirmation
needs one, and `headroom` more are wanted free:

    desired = ceil((queue_depth + running + apply_pending + headroom) / slots_per_pod), within min and max

What exists is compared with it slot by slot, since pods of one pool may have different numbers of slots, and some do
not answer. What an offline or draining pod has is no capacity; a run that is still held there needs no other place.
Why it comes out so is put into words by `scaling_reasons`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from iacq.domain import pod_failures
from iacq.domain.pod_failures import PodFailures
from iacq.domain.pool import Demand, PoolPod, PoolPolicy
from iacq.domain.slot import PodStatus


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What the pods of a pool amount to."""

    pods: int  # starting, or online with a slot that is held, open, or about to open
    slots: int  # of those pods, held ones included
    free: int  # of those slots, the ones that nothing holds
    elsewhere: int  # runs whose place is in a pod that is no capacity, and that need no other
    existing: int  # starting, online and draining pods: what counts against the maximum
    starting: int


@dataclass(frozen=True, kw_only=True)
class Desired:
    """How many pods a pool should have."""

    pods: int
    needed: int  # before the limits
    limit: Literal["min", "max", "frozen"] | None  # what made `pods` differ from `needed`
    rule: str  # with the numbers, for people


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What to do now. Zero and empty: nothing."""

    desired: Desired
    capacity: Capacity
    create: int  # pods to start
    drain: tuple[str, ...]  # pods to close and then delete, the least useful first
    give_up: int  # reservations to give up for work that waits, oldest first (`placement.choose_reservation`)
    retry_at: int | None  # ms: pods are missing, and the next one is tried then, because the last ones failed


def decide_scaling(
    policy: PoolPolicy,
    demand: Demand,
    pods: Sequence[PoolPod],
    *,
    frozen: bool,
    failures: PodFailures,
    now: int,
) -> Scaling:
    """Decide what to start, to drain and to give up. The same input gives the same answer, however often it is asked.

    pods: all of the pool that may exist, those that were asked for and have not registered included; failures: of
    the pool's pods of late.
    """
    desired = calculate_desired_pods(policy, demand, frozen=frozen)
    capacity = calculate_capacity(policy, demand, pods)
    missing = 0 if frozen else _missing_pods(policy, demand, capacity)
    retry_at = pod_failures.retry_at(failures) if missing else None
    waits = retry_at is not None and now < retry_at
    return Scaling(
        desired=desired,
        capacity=capacity,
        create=0 if waits else pod_failures.at_once(failures, wanted=missing, starting=capacity.starting),
        drain=choose_pods_to_drain(policy, demand, pods, capacity, frozen=frozen, now=now),
        give_up=0 if frozen else count_reservations_to_give_up(policy, demand, capacity),
        retry_at=retry_at if waits else None,
    )


def calculate_desired_pods(policy: PoolPolicy, demand: Demand, *, frozen: bool) -> Desired:
    """Apply the rule. It looks at the demand only: zero pods are no reason for zero pods."""
    needed = _pods_for(demand.slots + policy.headroom, policy)
    pods = 0 if frozen else max(policy.min_pods, min(needed, policy.max_pods))
    limit: Literal["min", "max", "frozen"] | None = None
    if frozen:
        limit = "frozen"
    elif pods != needed:
        limit = "max" if pods < needed else "min"
    running, apply_pending = demand.running + demand.interrupted, demand.apply_pending + demand.unprepared
    rule = (
        f"ceil(({demand.queue_depth} queue_depth + {running} running + {apply_pending} apply_pending"
        f" + {policy.headroom} headroom) / {policy.slots_per_pod} slots) = {needed},"
        f" within {policy.min_pods} to {policy.max_pods}{', frozen' if frozen else ''}: {pods}"
    )
    return Desired(pods=pods, needed=needed, limit=limit, rule=rule)


def calculate_capacity(policy: PoolPolicy, demand: Demand, pods: Iterable[PoolPod]) -> Capacity:
    """Count what can serve runs, now or when it has started."""
    serving = slots = held_there = elsewhere = offline = existing = starting = 0
    for pod in pods:
        starting += pod.status is PodStatus.STARTING
        existing += pod.status is not PodStatus.OFFLINE
        count = _serving_slots(pod, policy)
        if count:
            serving += 1
            slots += count
            held_there += pod.held
        elif pod.status is PodStatus.OFFLINE:
            offline += pod.held
        else:
            elsewhere += pod.held
    # What planned or ran on a silent pod is likely to need another one; an interrupted apply never does.
    elsewhere += min(offline, demand.interrupted)
    return Capacity(
        pods=serving,
        slots=slots,
        free=slots - held_there,
        elsewhere=elsewhere,
        existing=existing,
        starting=starting,
    )


def find_idle_pods(pods: Iterable[PoolPod], *, idle_grace_ms: int, now: int) -> list[PoolPod]:
    """Return online pods without a running or reserved slot that were left alone for the grace.

    Pods that were started by hand are not among them: whoever started them ends them.

    Those of least use first: fewest slots that answer, then idle for longest.
    """
    idle = [
        pod
        for pod in pods
        if pod.status is PodStatus.ONLINE
        and pod.generation is not None
        and not pod.held
        and now - pod.idle_since >= idle_grace_ms
    ]
    return sorted(idle, key=lambda pod: (pod.of_use, pod.idle_since, pod.name))


def choose_pods_to_drain(
    policy: PoolPolicy, demand: Demand, pods: Sequence[PoolPod], capacity: Capacity, *, frozen: bool, now: int
) -> tuple[str, ...]:
    """Choose idle pods that the demand can do without; never below the minimum.

    In a freeze all go in which nothing is held, at once: the grace is there against going up and down.
    """
    if frozen:
        going = (PodStatus.STARTING, PodStatus.ONLINE)
        idle = (pod for pod in pods if pod.status in going and not pod.held and pod.generation is not None)
        return tuple(sorted(pod.name for pod in idle))
    needed = demand.slots + policy.headroom - capacity.elsewhere
    pods_left, slots_left = capacity.pods, capacity.slots
    chosen = []
    for pod in find_idle_pods(pods, idle_grace_ms=policy.idle_grace_ms, now=now):
        count = _serving_slots(pod, policy)
        if count:
            spared = slots_left - count >= needed or pods_left > policy.max_pods
            if pods_left <= policy.min_pods or not spared:
                continue
            pods_left, slots_left = pods_left - 1, slots_left - count
        chosen.append(pod.name)
    return tuple(chosen)


def count_reservations_to_give_up(policy: PoolPolicy, demand: Demand, capacity: Capacity) -> int:
    """Count the waiting runs that only a reservation can make room for: no pod may be added, no slot is coming."""
    if capacity.existing < policy.max_pods:
        return 0
    return max(0, min(demand.queue_depth - capacity.free, demand.apply_pending))


def _missing_pods(policy: PoolPolicy, demand: Demand, capacity: Capacity) -> int:
    lacking = demand.slots + policy.headroom - capacity.elsewhere - capacity.slots
    missing = max(_pods_for(lacking, policy), policy.min_pods - capacity.pods)
    return max(0, min(missing, policy.max_pods - capacity.existing))


def _pods_for(slots: int, policy: PoolPolicy) -> int:
    return -(-slots // policy.slots_per_pod)


def _serving_slots(pod: PoolPod, policy: PoolPolicy) -> int:
    """Count the slots that runs are in or can be given, now or once it has started; 0: the pod is no capacity."""
    if pod.status is PodStatus.STARTING:
        return len(pod.slots) or policy.slots_per_pod
    return pod.of_use if pod.status is PodStatus.ONLINE else 0
