"""Replays a pattern under a rule, event by event, on a clock of its own.

Runs do what iacq's do: one state-changing run of a workspace at a time; a plan keeps its slot for its apply, up to a
day; a confirmed run takes its own slot, or waits before new ones for another and begins there with an init; new runs
get the free slot of the fullest pod (`placement.choose_slot`). A plan that is killed with its pod is tried again,
three times in all; an apply is not.
"""

import bisect
import heapq
import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from iacq.domain import placement, transitions
from iacq.domain.pool import Demand, PoolPolicy, count_demand
from iacq.domain.run import Phase, Status
from iacq.domain.slot import PodStatus, Slot, SlotStatus
from tests.simulate.fleet import POOL, Fleet, Pod
from tests.simulate.patterns import DAY, SECOND, Pattern, Work
from tests.simulate.rules import Orders, Rule

RESERVE_FOR = DAY
COLD_START = 54 * SECOND  # the init of an apply in another slot
TERMINATION = 30 * SECOND  # from the order to stop to the kill, where a rule does not look what a pod holds
SLOTS_PER_POD = 3


@dataclass(kw_only=True)
class Run:
    number: int
    work: Work
    status: Status = Status.PENDING
    slot: Slot | None = None
    since: int = 0  # ms: since when it could have a slot
    claim: int = 0  # grows with every change; an event of an earlier one does nothing
    tries: int = 0
    moved: bool = False  # its apply does not begin where its plan ended


@dataclass(kw_only=True)
class Outcome:
    """What came of it. Times in ms."""

    fleet: Fleet
    until: int
    waits: list[int] = field(default_factory=list)  # for a slot, of each phase that had none
    statuses: Counter[Status] = field(default_factory=Counter)  # of all runs at the end
    lost: int = 0  # reservations that went with their pod
    given_up: int = 0  # reservations given up at the maximum
    killed: int = 0  # phases that were running in a pod that was stopped
    held: list[tuple[int, int]] = field(default_factory=list)  # (when, slots held from then on)


class Simulation:
    def __init__(self, pattern: Pattern, rule: Rule, *, pod_start: int) -> None:
        self._pattern = pattern
        self._rule = rule
        self._pod_start = pod_start
        self._policy = PoolPolicy(max_pods=pattern.max_pods, slots_per_pod=SLOTS_PER_POD)
        self._fleet = Fleet(SLOTS_PER_POD)
        self._outcome = Outcome(fleet=self._fleet, until=pattern.until)
        self._now = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._look_at: int | None = 0
        self._runs = [Run(number=number, work=work) for number, work in enumerate(pattern.works, 1)]
        self._waiting: list[tuple[bool, int]] = []  # (is new, number): confirmed ones first, then oldest
        self._active: dict[int, Run] = {}  # by number: what has a slot or waits for an answer
        self._behind: defaultdict[str, deque[Run]] = defaultdict(deque)  # by workspace: the first one is its turn

    def run(self) -> Outcome:
        for run in self._runs:
            self._at(run.work.at, lambda run=run: self._arrive(run))
        while (next_at := self._next()) <= self._pattern.until:
            self._now = next_at
            changed = self._happen()
            self._dispatch()
            if (changed and self._rule.on_change) or self._look_at == self._now:
                self._look()
            if not self._outcome.held or self._outcome.held[-1][1] != self._fleet.held:
                self._outcome.held.append((self._now, self._fleet.held))
        for _, number in self._waiting:
            self._outcome.waits.append(self._pattern.until - self._runs[number - 1].since)
        self._outcome.statuses = Counter(run.status for run in self._runs)
        return self._outcome

    # the clock

    def _at(self, when: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    def _next(self) -> int:
        ahead = self._events[0][0] if self._events else self._pattern.until + 1
        return ahead if self._look_at is None else min(ahead, self._look_at)

    def _happen(self) -> bool:
        happened = False
        while self._events and self._events[0][0] == self._now:
            heapq.heappop(self._events)[2]()
            happened = True
        return happened

    # runs

    def _arrive(self, run: Run) -> None:
        if run.work.changes_state:
            turn = self._behind[run.work.workspace]
            turn.append(run)
            if turn[0] is not run:
                return
        self._wait(run, Status.PENDING)

    def _wait(self, run: Run, status: Status) -> None:
        run.status, run.since = status, self._now
        self._active.pop(run.number, None)
        bisect.insort(self._waiting, (status is Status.PENDING, run.number))

    def _dispatch(self) -> None:
        while self._waiting and self._fleet.free:
            slot = placement.choose_slot(POOL, self._fleet.open_slots())
            if slot is None:
                raise AssertionError("a slot is said to be free, and none is found")
            run = self._runs[self._waiting.pop(0)[1] - 1]
            self._outcome.waits.append(self._now - run.since)
            run.slot = slot
            self._start(run)

    def _start(self, run: Run) -> None:
        """Run the next phase in the slot of the run."""
        phase = transitions.PHASE_OF.get(run.status, Phase.APPLY)
        self._hold(run, SlotStatus.RUNNING)
        run.status = Status.PLANNING if phase is Phase.PLAN else Status.APPLYING
        takes = run.work.plan if phase is Phase.PLAN else run.work.apply + COLD_START * run.moved
        self._later(run, takes, self._finish)

    def _hold(self, run: Run, status: SlotStatus) -> None:
        if run.slot is None:
            raise AssertionError(f"run {run.number} has no slot to hold")
        self._active[run.number] = run
        run.slot = self._fleet.change(run.slot, status, run.number, self._now)

    def _later(self, run: Run, after: int, what: Callable[[Run], None]) -> None:
        """Let something become of the run, if nothing else has until then."""
        run.claim += 1
        claim = run.claim
        self._at(self._now + after, lambda: what(run) if run.claim == claim else None)

    def _finish(self, run: Run) -> None:
        if run.status is Status.APPLYING:
            self._end(run, Status.APPLIED)
        elif not run.work.changes_state:
            self._end(run, Status.SUCCESS)
        else:
            run.status = Status.APPLY_PENDING
            run.claim += 1
            self._hold(run, SlotStatus.RESERVED)
            if run.work.answer is not None:
                self._at(self._now + run.work.answer, lambda: self._answer(run))
            self._at(self._now + RESERVE_FOR, lambda: self._release(run, SlotStatus.RESERVED))
            pod = self._fleet.get(run.slot.pod_name) if run.slot else None
            if pod is not None and pod.status is PodStatus.DRAINING:
                self._lose(run, pod)

    def _answer(self, run: Run) -> None:
        if not run.work.confirmed:
            self._end(run, Status.DISCARDED)
        elif run.slot is not None:
            self._start(run)
        else:
            run.moved = True
            self._wait(run, Status.CONFIRMED)

    def _end(self, run: Run, status: Status) -> None:
        run.status = status
        run.claim += 1
        self._release(run)
        self._active.pop(run.number, None)
        if run.work.changes_state:
            turn = self._behind[run.work.workspace]
            turn.popleft()
            if turn:
                self._wait(turn[0], Status.PENDING)

    def _release(self, run: Run, status: SlotStatus | None = None) -> None:
        if run.slot is None or status not in (None, run.slot.status):
            return
        self._fleet.change(run.slot, SlotStatus.IDLE, None, self._now)
        pod = self._fleet.get(run.slot.pod_name)
        run.slot = None
        self._remove_if_empty(pod)

    # pods

    def _look(self) -> None:
        pods = self._fleet.seen()
        orders = self._rule.decide(self._policy, self._demand(), pods, self._now)
        self._look_at = orders.again_at
        for _ in range(orders.create):
            pod = self._fleet.create(self._now)
            self._at(self._now + self._pod_start, lambda pod=pod: self._fleet.ready(pod, self._now))
        self._reduce(orders)

    def _reduce(self, orders: Orders) -> None:
        for name in orders.drain:
            pod = self._fleet.get(name)
            if any(slot.status is not SlotStatus.IDLE for slot in pod.slots):
                raise AssertionError(f"{name} was to be drained, and holds a run")
            self._fleet.remove(pod, self._now)
        for name in orders.stop:
            self._stop(self._fleet.get(name))
        for _ in range(orders.give_up):
            unread = {run.number for run in self._active.values() if run.status is Status.APPLY_PENDING}
            slot = placement.choose_reservation(POOL, self._fleet.open_slots(), unread)
            if slot is None or slot.run_id is None:
                break
            self._release(self._runs[slot.run_id - 1])
            self._outcome.given_up += 1
        self._dispatch()

    def _demand(self) -> Demand:
        counts = Counter((run.status, run.slot is not None) for run in self._active.values())
        confirmed = bisect.bisect(self._waiting, (True,))
        return count_demand(counts, startable=len(self._waiting) - confirmed, confirmed=confirmed)

    def _stop(self, pod: Pod) -> None:
        """Stop a pod without looking what it holds."""
        self._fleet.close(pod)
        for run in self._runs_in(pod):
            if run.status is Status.APPLY_PENDING:
                self._lose(run, pod)
        self._remove_if_empty(pod)
        if pod.ended_at is None:
            self._at(self._now + TERMINATION, lambda: self._kill(pod))

    def _kill(self, pod: Pod) -> None:
        for run in self._runs_in(pod):
            self._outcome.killed += 1
            run.claim += 1
            run.tries += 1
            self._release(run)
            if run.status is Status.APPLYING:
                self._end(run, Status.APPLY_INTERRUPTED)
            elif run.tries >= transitions.MAX_TRIES[Phase.PLAN]:
                self._end(run, Status.FAILED)
            else:
                self._wait(run, Status.PENDING)

    def _lose(self, run: Run, pod: Pod) -> None:
        self._outcome.lost += 1
        self._release(run)
        self._remove_if_empty(pod)

    def _runs_in(self, pod: Pod) -> list[Run]:
        return [run for run in self._active.values() if run.slot is not None and run.slot.pod_name == pod.name]

    def _remove_if_empty(self, pod: Pod) -> None:
        empty = all(slot.status is SlotStatus.IDLE for slot in pod.slots)
        if pod.status is PodStatus.DRAINING and pod.ended_at is None and empty:
            self._fleet.remove(pod, self._now)
