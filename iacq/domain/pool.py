"""A pool to the scaler: its size policy, the runs that need its slots, and the pods that it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from iacq import errors
from iacq.domain import pod_failures, transitions
from iacq.domain.pod_failures import PodFailures
from iacq.domain.run import Status
from iacq.domain.slot import DEFAULT_SLOTS, Closed, PodStatus, Slot, SlotStatus

DEFAULT_IDLE_GRACE_MS = 5 * 60_000
"""How long a pod is kept after its last run ended or its last slot opened, where its pool says nothing else."""

_OPEN_OR_OPENING = (None, Closed.STARTING)


@dataclass(frozen=True, kw_only=True)
class PoolPolicy:
    """The size policy of a pool. Raises InvalidInput for numbers that contradict each other."""

    min_pods: int = 0
    max_pods: int
    slots_per_pod: int = DEFAULT_SLOTS
    headroom: int = 0  # slots that are to be free beside those in use
    idle_grace_ms: int = DEFAULT_IDLE_GRACE_MS

    def __post_init__(self) -> None:
        for field, value, least in (
            ("--min", self.min_pods, 0),
            ("--max", self.max_pods, 0),
            ("--slots", self.slots_per_pod, 1),
            ("--headroom", self.headroom, 0),
            ("--idle-grace", self.idle_grace_ms, 0),
        ):
            if value < least:
                raise errors.InvalidInput(
                    f"{field} is {value}", field=field, hint=f"Give a number that is at least {least}."
                )
        if self.min_pods > self.max_pods:
            raise errors.InvalidInput(
                f"--min {self.min_pods} is above --max {self.max_pods}",
                field="--min",
                hint="Lower --min, or raise --max.",
            )


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One row of `iacq_pools`."""

    name: str
    policy: PoolPolicy
    template: Mapping[str, Any] | None = None  # of its pods, for the runtime; None: nothing special
    generation: int = 1  # of the template; grows when the pods are to be replaced
    failures: PodFailures = pod_failures.NONE
    failed_reason: str | None = None  # of the last of them
    created_at: int = 0  # ms
    updated_at: int = 0  # ms

    @property
    def failing(self) -> FailingPods | None:
        """Say why its last pods failed; None: they work."""
        at = pod_failures.retry_at(self.failures)
        return None if at is None else FailingPods(reason=self.failed_reason or "not known", retry_at=at)


@dataclass(frozen=True, kw_only=True)
class FailingPods:
    """Pods of a pool fail one after the other."""

    reason: str  # of the last one, for people
    retry_at: int  # ms: when the next one is tried


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Runs of one pool that need a slot."""

    startable: int = 0  # pending, and nothing but a slot is missing: first of its workspace, not locked, not frozen
    confirmed: int = 0  # confirmed and without a slot, its workspace not locked
    running: int = 0  # queued for a slot, planning, applying, or confirmed in a reserved slot
    interrupted: int = 0  # apply_interrupted, and a slot is still held: its terraform may be alive
    apply_pending: int = 0  # keep a slot for their confirmation
    unprepared: int = 0  # lost that slot, and may be prepared in another one ahead of their confirmation

    @property
    def queue_depth(self) -> int:
        """What waits for a slot and could use one at once."""
        return self.startable + self.confirmed

    @property
    def slots(self) -> int:
        """How many slots all of it takes."""
        return self.queue_depth + self.running + self.interrupted + self.apply_pending + self.unprepared


@dataclass(frozen=True, kw_only=True)
class PoolPod:
    """A pod of the pool with its slot rows."""

    name: str
    status: PodStatus
    slots: tuple[Slot, ...]  # empty until it has registered
    created_at: int  # ms
    generation: int | None = 1  # of the pool's template; None: started by hand, so never drained for the pool's size

    @cached_property
    def held(self) -> int:
        """How many of its slots a run has: running, reserved, or interrupted and not proven ended."""
        return sum(slot.status is not SlotStatus.IDLE for slot in self.slots)

    @cached_property
    def of_use(self) -> int:
        """How many of its slots a run has, or could be given now or once their processes have answered."""
        return sum(slot.status is not SlotStatus.IDLE or slot.closed in _OPEN_OR_OPENING for slot in self.slots)

    @cached_property
    def idle_since(self) -> int:
        """When its last run ended or its last slot opened, ms; meaningful while nothing is held."""
        return max(self.created_at, *(slot.updated_at for slot in self.slots)) if self.slots else self.created_at


def count_demand(
    runs: Mapping[tuple[Status, bool], int], *, startable: int, confirmed: int, unprepared: int = 0
) -> Demand:
    """Sort runs into what the rule counts.

    runs: how many there are by (status, whether a slot is held for it); startable, confirmed: what dispatch could give
    a slot now (`store.queue`); unprepared: apply_pending runs that lost their slot and may be prepared in another one.
    """
    under_way = transitions.QUEUED | transitions.RUNNING
    return Demand(
        startable=startable,
        confirmed=confirmed,
        running=sum(
            number
            for (status, held), number in runs.items()
            if status in under_way or (status is Status.CONFIRMED and held)
        ),
        interrupted=runs.get((Status.APPLY_INTERRUPTED, True), 0),
        apply_pending=runs.get((Status.APPLY_PENDING, True), 0),
        unprepared=unprepared,
    )
