"""Replacing the pods of a pool whose template changed, a few at a time, without losing what they do.

Idle ones first, since nobody misses them; then those that only keep slots for plans that wait for a person; then busy
ones, which get no more work and go when what runs in them has ended. A pool at its maximum gets one pod more first, so
that it goes on while a busy pod ends what may take hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iacq.domain.pool import Pool, PoolPod
from iacq.domain.slot import GOING, PodStatus, SlotStatus

AT_ONCE = 4
"""Of so many pods of a pool, one may be on its way out at a time."""


@dataclass(frozen=True, kw_only=True)
class Roll:
    """What to do now. False and empty: nothing, or wait."""

    create: bool = False  # one pod beyond the maximum, before a pod is drained that is not idle
    drain: tuple[str, ...] = ()


def decide_roll(pool: Pool, pods: Sequence[PoolPod]) -> Roll:
    """Decide which pods of an older generation to drain next, never more than a few and one beyond the maximum."""
    living = [pod for pod in pods if pod.status in (PodStatus.STARTING, PodStatus.ONLINE)]
    old = sorted((pod for pod in living if _is_old(pod, pool)), key=lambda pod: (_kind(pod), pod.name))
    if not old:
        return Roll()
    on_its_way = sum(pod.status in GOING for pod in pods)
    on_its_way += sum(pod.status is PodStatus.STARTING and not _is_old(pod, pool) for pod in living)
    free = max(1, len(living) // AT_ONCE) - on_its_way
    idle = tuple(pod.name for pod in old if not pod.held)
    if free <= 0:
        return Roll()
    if idle:
        return Roll(drain=idle[:free])
    existing = sum(pod.status is not PodStatus.OFFLINE for pod in pods)
    if existing == pool.policy.max_pods:
        return Roll(create=True)
    return Roll(drain=(old[0].name,))


def _is_old(pod: PoolPod, pool: Pool) -> bool:
    return pod.generation is not None and pod.generation < pool.generation


def _kind(pod: PoolPod) -> int:
    """Sort by what is lost: nothing, prepared directories, time."""
    if not pod.held:
        return 0
    return 2 if any(slot.status is SlotStatus.RUNNING for slot in pod.slots) else 1
