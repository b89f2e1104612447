"""The one table of run states. Everything that is a set of states is derived from it.

A cause is what happened; the table says where it may lead from each state. `store.runs.transition` refuses
anything else, the CHECK constraint and the diagram in the README are generated from here.
"""

from __future__ import annotations

import enum

from iacq.domain.run import Phase, Status

S = Status


class Cause(enum.StrEnum):
    """Why a run changed its state; kept with each event."""

    ENQUEUED = "enqueued"
    DISPATCHED = "dispatched"  # a slot was chosen and its doorbell is in the outbox
    CLAIMED = "claimed"  # the slot took it
    FINISHED = "finished"  # the owner reports the end of the phase
    CONFIRMED = "confirmed"
    AUTO_APPLIED = "auto_applied"  # confirmed by the workspace's policy
    DISCARDED = "discarded"
    EXPIRED = "expired"  # nobody confirmed in time
    SUPERSEDED = "superseded"  # a newer run of the workspace asked for it
    CANCELLED = "cancelled"
    SLOT_LOST = "slot_lost"  # the slot of a queued run is dead, closed or does not answer
    LEASE_LOST = "lease_lost"
    POD_GONE = "pod_gone"  # whatever runs pods says that this one does not exist: nothing of it is alive
    NOT_STARTED = "not_started"  # a keeper's word: terraform was not started and never will be
    END_UNKNOWN = "end_unknown"  # terraform is gone and left no result
    PLAN_KILLED = "plan_killed"  # a respawned slot found the plan of its predecessor
    STOPPED = "stopped"  # the pod was told to stop: given back, not counted as a try
    FROZEN = "frozen"  # the pool froze: given back, not counted as a try
    NO_ROOM = "no_room"  # the pod's disk is too full: given back, not counted as a try
    ADOPTED = "adopted"  # a new process in the same place took over the living apply
    LATE_REPORT = "late_report"  # the true end of an interrupted apply arrived
    RESOLVED = "resolved"  # a person said how an interrupted apply ended
    RESTORED = "restored"  # the database is a backup: what may have happened since then must not happen again


_BACK_TO_PLAN = frozenset({S.PENDING, S.FAILED, S.CANCELLED})
_BACK_TO_APPLY = frozenset({S.CONFIRMED, S.FAILED, S.CANCELLED})

TABLE: dict[tuple[Status, Cause], frozenset[Status]] = {
    (S.PENDING, Cause.DISPATCHED): frozenset({S.PLAN_QUEUED}),
    (S.PENDING, Cause.CANCELLED): frozenset({S.CANCELLED}),
    (S.PLAN_QUEUED, Cause.CLAIMED): frozenset({S.PLANNING}),
    (S.PLAN_QUEUED, Cause.SLOT_LOST): frozenset({S.PENDING}),
    (S.PLAN_QUEUED, Cause.FROZEN): frozenset({S.PENDING}),
    (S.PLAN_QUEUED, Cause.CANCELLED): frozenset({S.CANCELLED}),
    (S.PLANNING, Cause.FINISHED): frozenset(
        {S.SUCCESS, S.PLANNED_AND_FINISHED, S.APPLY_PENDING, S.FAILED, S.CANCELLED}
    ),
    (S.PLANNING, Cause.LEASE_LOST): _BACK_TO_PLAN,
    (S.PLANNING, Cause.POD_GONE): _BACK_TO_PLAN,
    (S.PLANNING, Cause.END_UNKNOWN): _BACK_TO_PLAN,
    (S.PLANNING, Cause.PLAN_KILLED): _BACK_TO_PLAN,
    (S.PLANNING, Cause.STOPPED): _BACK_TO_PLAN,
    (S.PLANNING, Cause.FROZEN): _BACK_TO_PLAN,
    (S.PLANNING, Cause.NO_ROOM): _BACK_TO_PLAN,
    (S.APPLY_PENDING, Cause.CONFIRMED): frozenset({S.CONFIRMED}),
    (S.APPLY_PENDING, Cause.AUTO_APPLIED): frozenset({S.CONFIRMED}),
    (S.APPLY_PENDING, Cause.DISCARDED): frozenset({S.DISCARDED}),
    (S.APPLY_PENDING, Cause.EXPIRED): frozenset({S.DISCARDED}),
    (S.APPLY_PENDING, Cause.SUPERSEDED): frozenset({S.DISCARDED}),
    (S.APPLY_PENDING, Cause.CANCELLED): frozenset({S.CANCELLED}),
    (S.CONFIRMED, Cause.DISPATCHED): frozenset({S.APPLY_QUEUED}),
    (S.CONFIRMED, Cause.CANCELLED): frozenset({S.CANCELLED}),
    (S.APPLY_QUEUED, Cause.CLAIMED): frozenset({S.APPLYING}),
    (S.APPLY_QUEUED, Cause.SLOT_LOST): frozenset({S.CONFIRMED}),
    (S.APPLY_QUEUED, Cause.FROZEN): frozenset({S.CONFIRMED}),
    (S.APPLY_QUEUED, Cause.CANCELLED): frozenset({S.CANCELLED}),
    (S.APPLYING, Cause.FINISHED): frozenset({S.APPLIED, S.FAILED, S.CANCELLED}),
    (S.APPLYING, Cause.CANCELLED): frozenset({S.CANCELLED}),  # point of no return refused
    (S.APPLYING, Cause.LEASE_LOST): _BACK_TO_APPLY | {S.APPLY_INTERRUPTED},
    (S.APPLYING, Cause.POD_GONE): _BACK_TO_APPLY | {S.APPLY_INTERRUPTED},
    (S.APPLYING, Cause.NOT_STARTED): _BACK_TO_APPLY,
    (S.APPLYING, Cause.STOPPED): _BACK_TO_APPLY,
    (S.APPLYING, Cause.FROZEN): _BACK_TO_APPLY,
    (S.APPLYING, Cause.NO_ROOM): _BACK_TO_APPLY,
    (S.APPLYING, Cause.END_UNKNOWN): frozenset({S.APPLY_INTERRUPTED}),
    (S.APPLYING, Cause.ADOPTED): frozenset({S.APPLYING}),
    (S.APPLY_INTERRUPTED, Cause.ADOPTED): frozenset({S.APPLYING}),
    (S.APPLY_INTERRUPTED, Cause.LATE_REPORT): frozenset({S.APPLIED, S.FAILED}),
    (S.APPLY_INTERRUPTED, Cause.NOT_STARTED): frozenset({S.FAILED}),
    (S.APPLY_INTERRUPTED, Cause.RESOLVED): frozenset({S.APPLIED, S.FAILED}),
    (S.PENDING, Cause.RESTORED): frozenset({S.PENDING}),
    (S.PLAN_QUEUED, Cause.RESTORED): frozenset({S.PENDING}),
    (S.PLANNING, Cause.RESTORED): frozenset({S.PENDING, S.CANCELLED}),
    (S.APPLY_PENDING, Cause.RESTORED): frozenset({S.DISCARDED}),
    (S.CONFIRMED, Cause.RESTORED): frozenset({S.APPLY_INTERRUPTED}),
    (S.APPLY_QUEUED, Cause.RESTORED): frozenset({S.APPLY_INTERRUPTED}),
    (S.APPLYING, Cause.RESTORED): frozenset({S.APPLY_INTERRUPTED}),
    (S.APPLY_INTERRUPTED, Cause.RESTORED): frozenset({S.APPLY_INTERRUPTED}),
}

ENDED: frozenset[Status] = frozenset(set(Status) - {source for source, _ in TABLE})
"""States that nothing leaves."""

CANCELLED_AT_ONCE: frozenset[Status] = frozenset(
    source for (source, cause) in TABLE if cause is Cause.CANCELLED and source is not S.APPLYING
)
"""Waiting states: no process works on the run."""

QUEUED: frozenset[Status] = frozenset(source for source, cause in TABLE if cause is Cause.CLAIMED)
RUNNING: frozenset[Status] = frozenset(source for source, cause in TABLE if cause is Cause.FINISHED)
ACTIVE: frozenset[Status] = frozenset(set(Status) - ENDED - {S.PENDING})
"""From `plan_queued` to the end, `apply_interrupted` included: one state-changing run of a workspace at a time."""

PHASE_OF: dict[Status, Phase] = {
    S.PENDING: Phase.PLAN,
    S.PLAN_QUEUED: Phase.PLAN,
    S.PLANNING: Phase.PLAN,
    S.CONFIRMED: Phase.APPLY,
    S.APPLY_QUEUED: Phase.APPLY,
    S.APPLYING: Phase.APPLY,
    S.APPLY_INTERRUPTED: Phase.APPLY,
}
"""The phase that a run is in or waits for."""

SETBACKS: frozenset[Cause] = frozenset(
    {
        Cause.SLOT_LOST,
        Cause.LEASE_LOST,
        Cause.POD_GONE,
        Cause.NOT_STARTED,
        Cause.END_UNKNOWN,
        Cause.PLAN_KILLED,
        Cause.STOPPED,
        Cause.NO_ROOM,
    }
)
"""A worker was lost or gave up: what a healthy system has few of."""

MAX_TRIES: dict[Phase, int] = {Phase.PLAN: 3, Phase.APPLY: 5}
"""Claims of a phase before a run that keeps losing its worker fails, visibly."""


def is_allowed(source: Status, cause: Cause, target: Status) -> bool:
    """Tell whether `cause` may take a run from `source` to `target`."""
    return target in TABLE.get((source, cause), frozenset())


def diagram() -> str:
    """Draw the table as a Mermaid state diagram, for the README."""
    lines = ["stateDiagram-v2", f"    [*] --> {Status.PENDING}"]
    for source in Status:
        ways: dict[Status, list[str]] = {}
        for (start, cause), targets in TABLE.items():
            if start is source:
                for target in sorted(targets, key=list(Status).index):
                    ways.setdefault(target, []).append(cause.value)
        lines += [f"    {source} --> {target}: {', '.join(causes)}" for target, causes in ways.items()]
    lines += [f"    {status} --> [*]" for status in Status if status in ENDED]
    return "\n".join(lines)
