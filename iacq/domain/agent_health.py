"""How an agent, and a slot of it, are: judged by how long nothing was heard of them.

Silence decides who gets work. It proves nothing about what runs there: that is judged by its lease, by the process that
finds it, or by a runtime that says the pod is gone.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from iacq.domain.run import Run, WarmupStatus
from iacq.domain.slot import Pod, PodStatus, Slot


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long is waited, in ms."""

    register: int  # for a new pod to register, and for a silent one to come back
    heartbeat: int  # between two heartbeats; after that an agent is offline
    claim: int  # for a slot to claim what is queued for it
    forget: int  # for a pod of which nobody can say whether it is gone


class Health(enum.StrEnum):
    """What a pod's agent is, seen from outside."""

    AWAITED = "awaited"  # asked for, and in time
    MISSING = "missing"  # it did not register in time: given up, if nothing may be alive in it
    ONLINE = "online"
    SILENT = "silent"  # it gets no work from now on; what waits there goes elsewhere
    OFFLINE = "offline"  # that was noticed; it may come back
    LOST = "lost"  # it did not come back in time: given up, if nothing may be alive in it


def judge(pod: Pod, *, now: int, patience: Patience) -> Health:
    """Judge a pod's agent. now: ms, by the clock that wrote the heartbeats. A pod that goes is judged like one that is
    there: its agent works until it is gone.
    """
    if pod.status is PodStatus.STARTING:
        return Health.AWAITED if now - pod.since < patience.register else Health.MISSING
    if pod.status is PodStatus.OFFLINE:
        return Health.OFFLINE if now - pod.since < patience.register else Health.LOST
    heard = pod.since if pod.last_heartbeat is None else pod.last_heartbeat
    return Health.ONLINE if now - heard <= patience.heartbeat else Health.SILENT


def answers(slot: Slot, queued: Run, *, now: int, patience: Patience) -> bool:
    """Tell whether a slot still has time to claim the run that is queued for it.

    Behind a warm-up, which has a time limit of its own, the run waits without blame; counted is from its end.
    """
    return queued.warmup_status is WarmupStatus.WARMING or now - slot.updated_at < patience.claim
