"""What waits, in which order, and why."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from iacq.domain.run import Run, RunType, Status
from iacq.domain.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Why a run waits."""

    code: str  # behind_run, interrupted_run, workspace_locked, confirmation, no_free_slot, ... : stable
    text: str  # for people


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A run that could start now: as much of it as its place in the queue depends on."""

    id: int
    workspace: str
    run_type: RunType
    status: Status
    pool: str
    priority: int
    requested_by: str


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a waiting run's explanation needs to know."""

    workspace: Workspace | None
    active: Run | None  # the state-changing run of the workspace between plan_queued and its end, if it is another one
    ahead: Run | None  # the next state-changing run of the workspace that is pending, if it is another one
    free_slots: int  # of the pool, open
    pods: int  # online pods of the pool
    control_seen: bool  # a control worker answered lately
    frozen: str | None = None  # until when its pool is frozen, and why; None: it is not


def order(run: Run | Candidate) -> tuple[int, int, int, int]:
    """Sort key: priority, what is confirmed before what is new, drift last, then oldest."""
    return (
        -run.priority,
        0 if run.status is Status.CONFIRMED else 1,
        1 if run.run_type is RunType.DRIFT else 0,
        run.id,
    )


_Turn = tuple[int, int, int, int, int, int]


class Turns:
    """Startable runs in turn: priority, then the fewest running (of the workspace, then the caller), then oldest.

    An iterator; `count` what started, and the others of its workspace and caller move back.
    """

    def __init__(
        self,
        candidates: Iterable[Candidate],
        running_of_workspace: Mapping[str, int],
        running_of_caller: Mapping[str, int],
    ) -> None:
        self._of_workspace = Counter(running_of_workspace)
        self._of_caller = Counter(running_of_caller)
        self._waiting = [(self._turn(run), run) for run in candidates]
        heapq.heapify(self._waiting)

    def __iter__(self) -> Iterator[Candidate]:
        while self._waiting:
            turn, run = heapq.heappop(self._waiting)
            present = self._turn(run)
            if present == turn:
                yield run
            else:  # turns only move back: whoever is first with an old one waits for the new one
                heapq.heappush(self._waiting, (present, run))

    def count(self, run: Candidate) -> None:
        """Note that a run started."""
        self._of_workspace[run.workspace] += 1
        self._of_caller[run.requested_by] += 1

    def _turn(self, run: Candidate) -> _Turn:
        priority, confirmed, drift, oldest = order(run)
        by_workspace, by_caller = self._of_workspace[run.workspace], self._of_caller[run.requested_by]
        return priority, confirmed, drift, by_workspace, by_caller, oldest


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
    return _behind(run, around) or _capacity(around)


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


def _capacity(around: Surroundings) -> Waiting:
    if not around.control_seen:
        return Waiting(
            code="no_control", text="no control worker is running: start `iacq up` (or `iacq worker control`)"
        )
    if around.pods == 0:
        return Waiting(code="no_agent", text="no pod is online yet")
    if around.free_slots == 0:
        return Waiting(code="no_free_slot", text="every slot is in use")
    return Waiting(code="claim", text="about to be dispatched")
