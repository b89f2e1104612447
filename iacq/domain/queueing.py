"""What waits, in which order, and why."""

from __future__ import annotations

import datetime as dt
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from iacq.domain.pool import FailingPods
from iacq.domain.run import Run, RunType, Status
from iacq.domain.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Why a run waits."""

    code: str  # behind_run, interrupted_run, workspace_locked, confirmation, no_free_slot, ... : stable
    text: str  # for people


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A run that could start now: as much of it as its place in the queue depends on, and its start."""

    id: int
    workspace: str
    run_type: RunType
    status: Status
    pool: str
    priority: int
    requested_by: str
    attempt: int  # as it was seen: it starts only if it is still so
    needs_protocol: int


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a waiting run's explanation needs to know."""

    workspace: Workspace | None
    active: Run | None  # the state-changing run of the workspace between plan_queued and its end, if it is another one
    ahead: Run | None  # the next state-changing run of the workspace that is pending, if it is another one
    free_slots: int  # of the pool, open
    pods: int  # online pods of the pool
    has_pool: bool  # somebody created it, or an agent of it registered
    control_seen: bool  # a control worker answered lately
    control_protocol: int | None  # the newest that those speak (`versions`); None: none was seen
    pods_protocol: int | None  # the newest that online pods of the pool speak; None: none is online
    frozen: str | None = None  # until when its pool is frozen, and why; None: it is not
    starting_since: int | None = None  # ms: when the pod was asked for that starts for longest; None: none starts
    starting_reason: str | None = None  # what keeps that pod from running; None: nothing is known to
    failing: FailingPods | None = None  # why pods of the pool fail; None: they work
    maximum: int | None = None  # pods of the pool, if it has as many; None: there may be more
    full_slots: int = 0  # of the pool: idle, and closed because their pod has no room on its disk
    overtaken_by: int | None = None  # a younger run that goes first: fewer of its workspace or its caller are running


def order(run: Run | Candidate) -> tuple[int, int, int, int]:
    """Sort key: priority, what is confirmed before what is new, drift last, then oldest."""
    return (
        -run.priority,
        0 if run.status is Status.CONFIRMED else 1,
        1 if run.run_type is RunType.DRIFT else 0,
        run.id,
    )


_Turn = tuple[int, int, int, int, int, int]


_Waits = TypeVar("_Waits", Run, Candidate)


class Turns(Generic[_Waits]):
    """Startable runs in turn: priority, then the fewest running (of the workspace, then the caller), then oldest.

    An iterator; `count` what started, and the others of its workspace and caller move back.
    """

    def __init__(
        self,
        candidates: Iterable[_Waits],
        running_of_workspace: Mapping[str, int],
        running_of_caller: Mapping[str, int],
    ) -> None:
        self._of_workspace = Counter(running_of_workspace)
        self._of_caller = Counter(running_of_caller)
        self._waiting: list[tuple[_Turn, _Waits]] = [(self._turn(run), run) for run in candidates]
        heapq.heapify(self._waiting)

    def __iter__(self) -> Iterator[_Waits]:
        while self._waiting:
            turn, run = heapq.heappop(self._waiting)
            present = self._turn(run)
            if present == turn:
                yield run
            else:  # turns only move back: whoever is first with an old one waits for the new one
                heapq.heappush(self._waiting, (present, run))

    def count(self, run: _Waits) -> None:
        """Note that a run started."""
        self._of_workspace[run.workspace] += 1
        self._of_caller[run.requested_by] += 1

    def _turn(self, run: _Waits) -> _Turn:
        priority, confirmed, drift, oldest = order(run)
        by_workspace, by_caller = self._of_workspace[run.workspace], self._of_caller[run.requested_by]
        return priority, confirmed, drift, by_workspace, by_caller, oldest


def find_overtaken(in_turn: Iterable[Run | Candidate]) -> dict[int, int]:
    """Return who goes after a younger one of the same rank, because of their shares: run → the youngest before it."""
    youngest: dict[tuple[int, int, int], int] = {}
    overtaken = {}
    for run in in_turn:
        *rank, number = order(run)
        before = youngest.get((rank[0], rank[1], rank[2]), 0)
        if before > number:
            overtaken[number] = before
        youngest[rank[0], rank[1], rank[2]] = max(before, number)
    return overtaken


def explain(run: Run, around: Surroundings) -> Waiting | None:
    """Say why a waiting run waits; None for a run that runs or has ended."""
    if run.status is Status.APPLY_PENDING:
        return Waiting(code="confirmation", text=f"waits for a confirmation: `iacq confirm {run.id}`")
    if run.status in (Status.PLAN_QUEUED, Status.APPLY_QUEUED):
        return Waiting(code="claim", text=f"waits for slot {run.queue} to take it")
    if run.status is Status.APPLY_INTERRUPTED:
        return Waiting(
            code="interrupted_run",
            text=f"its worker was lost while terraform applied: `iacq show {run.id}`, then "
            f"`iacq run resolve {run.id} --applied|--failed --comment …`",
        )
    if run.status not in (Status.PENDING, Status.CONFIRMED):
        return None
    if around.frozen is not None:
        return Waiting(code="frozen_until", text=f"pool {run.pool}: {around.frozen}")
    return _behind(run, around) or _capacity(run, around)


def _behind(run: Run, around: Surroundings) -> Waiting | None:
    if not run.run_type.changes_state:
        return None
    if run.status is Status.PENDING and around.active is not None:
        if around.active.status is Status.APPLY_INTERRUPTED:
            return Waiting(
                code="interrupted_run",
                text=f"run {around.active.id} of this workspace was interrupted and must be resolved first: "
                f"`iacq show {around.active.id}`",
            )
        return Waiting(code="behind_run", text=f"behind run {around.active.id} ({around.active.status})")
    if around.workspace is not None and around.workspace.locked_at is not None:
        return Waiting(
            code="workspace_locked",
            text=f"workspace locked by {around.workspace.locked_by}: {around.workspace.locked_reason}",
        )
    if run.status is Status.PENDING and around.ahead is not None:
        return Waiting(code="behind_run", text=f"behind run {around.ahead.id} ({around.ahead.status})")
    return None


def _for_newer(run: Run, around: Surroundings) -> Waiting | None:
    """Say that nobody here can read what a newer version stored."""
    for who, protocol in (("control workers", around.control_protocol), ("pods of its pool", around.pods_protocol)):
        if protocol is not None and protocol < run.needs_protocol:
            text = (
                f"a newer iacq stored it, for protocol {run.needs_protocol}: the {who} speak {protocol}, upgrade them"
            )
            return Waiting(code="newer_version", text=text)
    return None


def _capacity(run: Run, around: Surroundings) -> Waiting:
    if not around.control_seen:
        return Waiting(
            code="no_control", text="no control worker is running: start `iacq up` (or `iacq worker control`)"
        )
    newer = _for_newer(run, around)
    if newer is not None:
        return newer
    if around.free_slots:
        return Waiting(code="claim", text="about to be dispatched")
    if around.starting_since is not None:
        text = f"a pod is starting, since {_clock(around.starting_since)}"
        if around.starting_reason is not None:
            text = f"{text}, and does not run: {around.starting_reason}"
        return Waiting(code="starting_pod", text=text)
    if around.failing is not None:
        text = f"the last pod failed: {around.failing.reason}; the next one is tried at "
        return Waiting(code="pods_fail", text=text + _clock(around.failing.retry_at))
    if not around.has_pool:
        text = f"there is no pool {run.pool}: `iacq pool create {run.pool} --max N`, or start agents for it"
        return Waiting(code="no_agent", text=text)
    if around.pods == 0 and around.maximum == 0:
        text = f"pool {run.pool} may have no pods: `iacq pool update {run.pool} --max N`, or start agents for it"
        return Waiting(code="no_agent", text=text)
    if around.pods == 0:
        return Waiting(code="no_agent", text="no pod is online yet")
    if around.full_slots:
        text = f"{_slots(around.full_slots)}: the disk of the pod is full, see IACQ_DISK_FLOOR and IACQ_DISK_CAP"
        return Waiting(code="disk_full", text=text)
    if around.overtaken_by is not None:
        text = f"run {around.overtaken_by} goes first: fewer of its workspace, or of its caller, are running"
        return Waiting(code="fair_share", text=text)
    if around.maximum is not None:
        text = f"every slot is in use, and the pool has its maximum of {around.maximum} pods"
        return Waiting(code="pool_at_maximum", text=text)
    return Waiting(code="no_free_slot", text="every slot is in use")


def _slots(number: int) -> str:
    return "a slot gets no work" if number == 1 else f"{number} slots get no work"


def _clock(ms: int) -> str:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).strftime("%H:%M:%S UTC")
