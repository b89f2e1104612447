"""The metrics: name, kind, labels and meaning of each. Labels are bounded: never a workspace, a run or a pod."""

from __future__ import annotations

from dataclasses import dataclass

GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One series of a metric."""

    labels: tuple[str, ...]  # values, in the order of the metric's labels
    value: float  # of a histogram: the sum of all values
    buckets: tuple[tuple[str, float], ...] = ()  # of a histogram: upper bound, number of values up to it


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric with its present series."""

    name: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a metric means."""

    kind: str
    labels: tuple[str, ...]
    meaning: str  # with its unit


def _described(kind: str, labels: str, meaning: str) -> Described:
    return Described(kind=kind, labels=tuple(labels.split()), meaning=meaning)


CATALOGUE: dict[str, Described] = {
    "iacq_database_up": _described(GAUGE, "", "1 if the database answered, else 0, and nothing that is in it is told"),
    "iacq_scrape_seconds": _described(GAUGE, "", "how long the database took to answer all this, in seconds"),
    "iacq_runs_ended_total": _described(COUNTER, "pool type status", "runs that ended, by how"),
    "iacq_apply_starts_total": _described(
        COUNTER, "pool tier", "applies of ended runs by their start: hot, warm, cold"
    ),
    "iacq_step_seconds": _described(
        HISTOGRAM, "pool phase step", "how long each step of a phase took, queue_wait among them, in seconds"
    ),
    "iacq_setbacks_total": _described(COUNTER, "cause", "how often a worker lost a run or gave it back"),
    "iacq_runs": _described(GAUGE, "pool status", "runs that have not ended"),
    "iacq_runs_waiting": _described(GAUGE, "pool reason", "runs that wait, by what for"),
    "iacq_runs_waiting_oldest_seconds": _described(
        GAUGE, "pool reason", "age of the oldest of them since it was enqueued or confirmed, in seconds"
    ),
    "iacq_pods": _described(GAUGE, "pool status", "pods: starting, online, draining, deleting, offline"),
    "iacq_pods_desired": _described(GAUGE, "pool", "pods that the pool should have now"),
    "iacq_pods_needed": _described(GAUGE, "pool", "the same without its minimum and maximum, and without freezes"),
    "iacq_pool_frozen": _described(GAUGE, "pool", "1 while nothing is dispatched or claimed there, else 0"),
    "iacq_slots": _described(GAUGE, "pool status", "slots: idle, running, reserved"),
    "iacq_slots_closed": _described(GAUGE, "pool reason", "slots that get no work, by why"),
    "iacq_outbox_bells": _described(GAUGE, "", "doorbells that no slot has answered yet"),
    "iacq_outbox_oldest_seconds": _described(GAUGE, "", "age of the oldest of them, in seconds"),
    "iacq_control_silent_seconds": _described(GAUGE, "", "since a control worker last did something; absent: never"),
    "iacq_beat_silent_seconds": _described(GAUGE, "", "since a control worker last heard beat; absent: never"),
    "iacq_messages_refused_total": _described(
        COUNTER, "reason", "of a worker: messages that it did not take, by why, since the process began"
    ),
    "iacq_agent_silent_seconds": _described(GAUGE, "", "of an agent: since its last heartbeat was written"),
    "iacq_work_free_bytes": _described(GAUGE, "", "of an agent: free space where its slots work"),
    "iacq_work_size_bytes": _described(GAUGE, "", "of an agent: size of that file system"),
}
"""Every metric that iacq serves, in the order in which they are shown."""
