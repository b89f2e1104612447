"""Brings runs into any state, through the protocol itself."""

import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from iacq.domain.run import Phase, Run, RunType, StartTier, Status
from iacq.domain.slot import Place, Slot
from iacq.domain.transitions import PHASE_OF
from iacq.store import pods, runs, slots, workspaces
from iacq.store.pods import Registration
from iacq.store.protocol import owning, recovering, waiting, warming
from iacq.store.protocol.owning import Hold, PlanResult
from iacq.store.runs import NewRun
from iacq.store.schema import metadata
from iacq.store.schema import pods as pod_table
from iacq.store.schema import runs as run_table
from iacq.store.schema import slots as slot_table
from iacq.store.session import Database, Transaction
from iacq.testing.clock import FakeClock
from tests import invariants, samples

LEASE_MS = 45_000
EXPIRES_MS = 3_600_000
CLAIM_MS = 60_000
WARMUP_MS = 660_000
TTL_MS = 1_800_000
POD = "pod1"
AGENT = "pod1-boot1"


Rows = list[tuple[Any, ...]]


class World:
    """One database with a virtual clock; `later` is the same one as seen by somebody whose clock is hours ahead."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.foreign: Rows = []  # what is in `workspace_tasks` and is not iacq's
        self.clock = FakeClock()
        self.database = Database(url, clock=self.clock.now_ms, pool_size=10)
        self.later = Database(url, clock=lambda: self.clock.now_ms() + 3 * EXPIRES_MS)

    def close(self) -> None:
        self.database.close()
        self.later.close()

    def do(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a step that must not be refused."""
        return self.database.run(step, *args, **kwargs)

    def pod(self, name: str = POD, *, slots_of_pod: int = 2, agent_id: str = "", pool: str = "default") -> None:
        """Register a pod and open its slots."""
        agent_id = agent_id or f"{name}-boot1"
        self.do(pods.register, Registration(pod_name=name, agent_id=agent_id, pool=pool, slots=slots_of_pod))
        for number in range(1, slots_of_pod + 1):
            assert self.do(slots.open_again, self.place(number, pod_name=name, agent_id=agent_id))

    def place(self, slot_id: int = 1, *, pod_name: str = POD, agent_id: str = "", boot: str = "a") -> Place:
        return Place(pod_name=pod_name, slot_id=slot_id, agent_id=agent_id or f"{pod_name}-boot1", boot=boot)

    def slot(self, slot_id: int = 1, *, pod_name: str = POD) -> Slot:
        found = self.database.read(slots.at, pod_name, slot_id)
        assert found is not None
        return found

    def workspace(self, name: str = "network", **changes: Any) -> None:
        if self.database.read(workspaces.find, name) is None:
            self.do(workspaces.insert, samples.workspace(name, **changes), secrets=None)

    def run(self, run_id: int) -> Run:
        found = self.database.read(runs.get, run_id)
        assert found is not None
        return found

    def hold(self, run: Run) -> Hold:
        """What the present owner of a run names."""
        return Hold(run_id=run.id, phase=PHASE_OF[run.status], fence=run.fence, owner=run.owner or "nobody")

    def enqueue(
        self,
        workspace: str = "network",
        run_type: RunType = RunType.PLAN_AND_APPLY,
        *,
        auto_apply: bool = False,
        **changes: Any,
    ) -> Run:
        self.workspace(workspace)
        new = NewRun(
            workspace=workspace,
            run_type=run_type,
            pool="default",
            priority=0,
            auto_apply=auto_apply,
            message=None,
            requested_by="alice",
            idempotency_key=None,
            request_digest="",
        )
        run: Run = self.do(runs.insert, dataclasses.replace(new, **changes))
        return run

    def at(self, status: Status, *, workspace: str = "network", slot_id: int = 1, **changes: Any) -> Run:
        """Bring a new run to a state that is not an end, in one slot."""
        run = self.enqueue(workspace, **changes)
        for reached, step in self._way(slot_id):
            if run.status is status:
                break
            if status is Status.CONFIRMED and reached is Status.APPLY_QUEUED:
                return self._confirmed(run)
            run = step(run)
        assert run.status is status
        return run

    def _way(self, slot_id: int) -> list[tuple[Status, Callable[[Run], Run]]]:
        return [
            (Status.PLAN_QUEUED, lambda run: self._dispatched(run, slot_id)),
            (Status.PLANNING, lambda run: self.claimed(run, slot_id)),
            (Status.APPLY_PENDING, lambda run: self.planned(run, slot_id)),
            (Status.APPLY_QUEUED, lambda run: self.do(waiting.confirm, run, by="bob", comment=None)[0]),
            (Status.APPLYING, lambda run: self.claimed(run, slot_id)),
            (Status.APPLY_INTERRUPTED, self.interrupted),
        ]

    def _dispatched(self, run: Run, slot_id: int) -> Run:
        self.do(waiting.dispatch, run, self.slot(slot_id))
        return self.run(run.id)

    def claimed(self, run: Run, slot_id: int = 1) -> Run:
        found: Run = self.do(
            owning.claim, run.id, PHASE_OF[run.status], run.attempt, self.place(slot_id), lease_ms=LEASE_MS
        )
        return found

    def planned(self, run: Run, slot_id: int = 1, status: Status = Status.APPLY_PENDING) -> Run:
        found: Run = self.do(owning.finish_plan, self.hold(run), self.place(slot_id), plan_result(status))[0]
        return found

    def _confirmed(self, run: Run) -> Run:
        """Confirmed, its slot still reserved: the workspace was locked at that moment."""
        self.do(workspaces.lock, run.workspace, by="eve", reason="x")
        confirmed: Run = self.do(waiting.confirm, run, by="bob", comment=None)[0]
        self.do(workspaces.unlock, run.workspace)
        return confirmed

    def lost(self, status: Status = Status.APPLY_PENDING, **changes: Any) -> Run:
        """A planned run whose slot was given up."""
        run = self.at(status, **changes)
        self.do(waiting.give_up_reservation, run, self.database.read(slots.held_by, run.id))
        return self.run(run.id)

    def warming(self, run: Run | None = None, slot_id: int = 1, *, claimed: bool = False) -> Run:
        """A run that lost its slot and is being prepared in another one."""
        run = run or self.lost()
        self.do(warming.begin, run, self.slot(slot_id), claim_within_ms=CLAIM_MS)
        run = self.run(run.id)
        if claimed:
            place = self.place(slot_id)
            run = self.do(warming.claim, run.id, run.warmup_retries, place, within_ms=WARMUP_MS)
        return run

    def warm_hold(self, run: Run) -> Hold:
        """What whoever warms up a run names."""
        return Hold(run_id=run.id, phase=Phase.PLAN, fence=run.warmup_fence or 0, owner="whoever")

    def ready(self, run: Run | None = None, slot_id: int = 1) -> Run:
        """A run that is prepared in another slot than its plan's."""
        run = self.warming(run, slot_id, claimed=True)
        ready: Run = self.do(warming.finish, self.warm_hold(run), self.place(slot_id), ttl_ms=TTL_MS)
        return ready

    def with_effects(self, **changes: Any) -> Run:
        """An applying run whose terraform may have started."""
        run = self.at(Status.APPLYING, **changes)
        passed: Run = self.do(owning.pass_point_of_no_return, self.hold(run), StartTier.HOT)
        return passed

    def interrupted(self, run: Run) -> Run:
        """Its owner vanished after terraform started."""
        if run.effects_at is None:
            run = self.do(owning.pass_point_of_no_return, self.hold(run), StartTier.HOT)
        self.clock.advance(LEASE_MS / 1000 + 1)
        lost: Run = self.do(recovering.lose_lease, run)
        return lost

    def set_run(self, run_id: int, **values: Any) -> None:
        """Change a row behind everybody's back."""
        self.do(lambda tx: tx.execute(run_table.update().where(run_table.c.id == run_id).values(**values)))

    def set_slot(self, slot_id: int, **values: Any) -> None:
        where = (slot_table.c.pod_name == POD, slot_table.c.slot_id == slot_id)
        self.do(lambda tx: tx.execute(slot_table.update().where(*where).values(**values)))

    def set_pod(self, name: str, **values: Any) -> None:
        self.do(lambda tx: tx.execute(pod_table.update().where(pod_table.c.name == name).values(**values)))

    def rows(self) -> Mapping[str, Rows]:
        """Everything that is stored."""

        def read(tx: Transaction) -> dict[str, Rows]:
            return {
                table.name: sorted(map(tuple, tx.execute(sa.select(table))), key=repr)
                for table in metadata.sorted_tables
            }

        return self.database.read(read)

    def check(self) -> None:
        """Rows agree with each other."""
        broken = self.database.read(invariants.broken)
        assert broken == [], broken


def plan_result(status: Status = Status.APPLY_PENDING) -> PlanResult:
    values: dict[str, Any] = {"plan_hash": samples.HASH, "changes": {"add": 1, "change": 0, "destroy": 0}}
    if status is Status.FAILED:
        values = {"error_code": "terraform", "error_text": "it failed"}
    return PlanResult(status=status, values=values, expires_in_ms=EXPIRES_MS)


def at_once(*jobs: Callable[[], Any]) -> list[Any]:
    """Do all of it at the same moment, each in a thread of its own; returns what each returned or raised."""
    barrier = threading.Barrier(len(jobs))
    results: list[Any] = [None] * len(jobs)

    def work(number: int) -> None:
        barrier.wait(60)
        try:
            results[number] = jobs[number]()
        except Exception as error:  # noqa: BLE001 - the test judges it
            results[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return results


__all__ = [
    "AGENT",
    "CLAIM_MS",
    "EXPIRES_MS",
    "LEASE_MS",
    "POD",
    "TTL_MS",
    "WARMUP_MS",
    "Rows",
    "World",
    "at_once",
    "plan_result",
]
