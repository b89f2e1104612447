"""Pods and their slots."""

from __future__ import annotations

import enum
from dataclasses import dataclass

DEFAULT_SLOTS = 3
"""Slots of a pod where its pool says nothing else."""


class SlotStatus(enum.StrEnum):
    """What the slot row says. The row is the hold: at most one run per slot, one slot per run."""

    IDLE = "idle"
    RUNNING = "running"  # a run is queued for it or runs in it, or its interrupted apply may still live
    RESERVED = "reserved"  # kept for a run that waits for its confirmation


class Closed(enum.StrEnum):
    """Why a slot gets no work. An open slot has none of these."""

    STARTING = "starting"  # its process has not yet proven that nothing of an earlier run is alive
    NOT_ANSWERING = "not_answering"  # it did not claim in time; opens when it answers
    OFFLINE = "offline"  # its agent is silent; opens when the agent registers anew
    DRAINING = "draining"  # its pod is going
    DISK_FULL = "disk_full"  # its pod has too little room for another run; opens when there is some


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One place in a pod where one phase runs."""

    pod_name: str
    slot_id: int  # from 1
    agent_id: str
    pool: str
    status: SlotStatus
    run_id: int | None
    task_type: str | None  # type of that run
    closed: Closed | None
    protocol: int  # that its agent speaks (`versions`)
    updated_at: int  # ms

    @property
    def queue(self) -> str:
        """`pod.slot`."""
        return f"{self.pod_name}.{self.slot_id}"

    @property
    def usable(self) -> bool:
        """Tell whether new work may be placed here."""
        return self.closed is None and self.status is SlotStatus.IDLE


@dataclass(frozen=True, kw_only=True)
class Place:
    """A slot process as it names itself in every write."""

    pod_name: str
    slot_id: int
    agent_id: str  # one boot of the pod
    boot: str  # one boot of the slot's process

    @property
    def owner(self) -> str:
        """The owner column of a run that this process holds."""
        return f"{self.agent_id}/{self.slot_id}/{self.boot}"

    @property
    def queue(self) -> str:
        """`pod.slot`."""
        return f"{self.pod_name}.{self.slot_id}"


class PodStatus(enum.StrEnum):
    """Whether a pod may get work."""

    STARTING = "starting"  # asked for, not registered yet
    ONLINE = "online"
    DRAINING = "draining"  # gets no work, and goes once nothing is held there
    DELETING = "deleting"  # goes now, with whatever is held there; its rows stay until it is proven gone
    OFFLINE = "offline"  # silent; nobody knows whether it exists


GOING = frozenset({PodStatus.DRAINING, PodStatus.DELETING})
"""From these a pod does not come back, whatever its agent says."""


@dataclass(frozen=True, kw_only=True)
class Pod:
    """One worker container, or one process group on this machine."""

    name: str
    agent_id: str | None  # the last boot that registered; None: none yet
    pool: str
    slots: int
    status: PodStatus
    created_at: int  # ms: when it was asked for, or registered first
    last_heartbeat: int | None  # ms
    since: int  # ms: when its status became what it is
    runtime: str | None = None  # what it was asked for from (`ports.PodRuntime.identity`); None: started by hand
    generation: int | None = None  # of its pool's template; None: started by hand, so iacq neither makes nor ends it
    protocol: int | None = None  # that its agent speaks (`versions`); None: not registered yet
    reason: str | None = None  # why it does not run, or goes

    @property
    def managed(self) -> bool:
        """Tell whether iacq asked for it, and so may end it."""
        return self.generation is not None
