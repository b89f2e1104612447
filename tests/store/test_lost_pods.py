"""Pods that are gone, silent or broken, and whoever looks after them dying in the middle of it."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iacq.domain.run import Phase, Status
from iacq.domain.slot import PodStatus
from iacq.errors import NotFound
from iacq.ports import PodPhase, PodSpec
from iacq.services import agents, evidence, pod_orders, recovering
from iacq.services.core import Core
from iacq.services.pod_manager import PodManager
from iacq.store import pods, slots
from iacq.store.pods import Registration
from iacq.store.protocol import owning, waiting
from iacq.store.session import Database
from iacq.testing.core import make_core
from iacq.testing.pod_runtime import FakePodRuntime
from tests.store.conftest import empty
from tests.store.fleet import FleetWorld, keep_minimum
from tests.store.world import LEASE_MS, POD, World

S = Status


@pytest.fixture
def fleet(world: World, core: Core) -> FleetWorld:
    return FleetWorld(world, core)


@pytest.mark.parametrize(
    ("status", "becomes"),
    [
        (S.PLAN_QUEUED, S.PENDING),
        (S.PLANNING, S.PENDING),
        (S.APPLY_PENDING, S.APPLY_PENDING),
        (S.CONFIRMED, S.CONFIRMED),
        (S.APPLY_QUEUED, S.CONFIRMED),
        (S.APPLYING, S.CONFIRMED),
        ("with effects", S.APPLY_INTERRUPTED),
        (S.APPLY_INTERRUPTED, S.APPLY_INTERRUPTED),
    ],
)
def test_what_a_vanished_pod_held_is_judged_at_once(fleet: FleetWorld, status: str, becomes: Status) -> None:
    """docs/failures.md 9, 17: nobody waits for a lease, and nothing that may have happened is done again."""
    fleet.adopt(POD)
    world = fleet.world
    run = world.with_effects() if status == "with effects" else world.at(S(status))
    fleet.runtime.vanish(POD)
    fleet.manager.reconcile_pods()
    found = world.run(run.id)
    assert found.status is becomes
    assert (found.prepared_pod_name is None) is (becomes in (S.PENDING, S.APPLY_PENDING, S.CONFIRMED))
    assert fleet.names() == []
    assert world.database.read(slots.listed) == []
    if becomes is S.APPLY_INTERRUPTED:
        assert evidence.gather(fleet.core, found).end_proven
    if status == S.PLANNING:
        assert found.tries == 1, "it cannot go on for ever"
    assert fleet.pool().failures.count == 1
    world.check()


def test_a_plan_that_loses_every_pod_fails_visibly(fleet: FleetWorld) -> None:
    """docs/failures.md 23."""
    run = fleet.world.enqueue()
    for _ in range(3):
        fleet.adopt(POD)
        fleet.world._dispatched(run, 1)
        run = fleet.world.claimed(fleet.world.run(run.id))
        fleet.runtime.vanish(POD)
        fleet.manager.reconcile_pods()
        run = fleet.world.run(run.id)
    assert (run.status, run.error_code) == (S.FAILED, "tries_used_up")


def test_a_silent_pod_proves_nothing(fleet: FleetWorld) -> None:
    """It runs for the runtime: what may be alive in it is kept, and the pod with it."""
    fleet.adopt(POD)
    fleet.runtime.change(POD, phase=PodPhase.RUNNING)
    run = fleet.world.with_effects()
    fleet.world.clock.advance(31)
    recovering.check_agents(fleet.core)
    fleet.world.clock.advance(3600)
    fleet.world.interrupted(run)
    for _ in range(2):
        fleet.manager.reconcile_pods()
    assert fleet.pod(POD).status is PodStatus.OFFLINE
    assert fleet.runtime.pods[POD].phase is PodPhase.RUNNING
    assert fleet.world.run(run.id).status is S.APPLY_INTERRUPTED
    assert fleet.world.slot().run_id == run.id
    fleet.manager.delete_pod(POD, reason="by alice", force=True)
    assert fleet.world.slot().run_id == run.id, "asking for its end does not prove it"
    fleet.runtime.vanish(POD)
    fleet.manager.reconcile_pods()
    assert fleet.names() == []
    fleet.world.check()


def test_a_draining_pod_that_fails_in_an_apply_is_deleted(fleet: FleetWorld) -> None:
    """Nothing in it can prove the end of what it holds, and nobody else could: the run would wait for ever."""
    fleet.adopt(POD)
    fleet.runtime.change(POD, phase=PodPhase.RUNNING)
    run = fleet.world.with_effects()
    pod_orders.drain(fleet.core, POD, reason="by alice")
    fleet.runtime.change(POD, phase=PodPhase.FAILED, reason="out of memory")
    fleet.manager.reconcile_pods()
    assert fleet.runtime.pods[POD].phase is PodPhase.STOPPING
    fleet.runtime.vanish(POD)
    fleet.manager.reconcile_pods()
    found = fleet.world.run(run.id)
    assert found.status is S.APPLY_INTERRUPTED
    assert evidence.gather(fleet.core, found).end_proven
    assert fleet.names() == []
    assert fleet.pool().failures.count == 0, "nobody needs another one in its place"
    fleet.world.check()


def test_a_silent_pod_that_holds_nothing_goes_in_the_end(fleet: FleetWorld) -> None:
    fleet.adopt(POD)
    fleet.runtime.change(POD, phase=PodPhase.RUNNING)
    fleet.world.clock.advance(31)
    recovering.check_agents(fleet.core)
    fleet.manager.reconcile_pods()
    assert fleet.pod(POD).status is PodStatus.OFFLINE
    fleet.world.clock.advance(121)
    fleet.manager.reconcile_pods()
    assert fleet.pod(POD).status is PodStatus.DELETING


def test_a_pod_whose_agent_was_started_again_is_awaited_not_replaced(fleet: FleetWorld) -> None:
    """`iacq up` was stopped, and starts the same pods again."""
    fleet.pool(min_pods=1)
    fleet.manager.reconcile_pods()
    [name] = fleet.names()
    fleet.register(name)
    boot = Registration(pod_name=name, agent_id=f"{name}-boot1", pool="default", slots=2, managed=True)
    agents.leave(fleet.core, boot)
    assert fleet.pod(name).status is PodStatus.OFFLINE
    fleet.world.clock.advance(3600)
    fleet.runtime.change(name, phase=PodPhase.STARTING, started_at=fleet.world.clock.now_ms())
    fleet.manager.reconcile_pods()
    assert (fleet.names(), fleet.pod(name).status) == ([name], PodStatus.STARTING)
    fleet.register(name)
    fleet.manager.reconcile_pods()
    assert (fleet.names(), fleet.pod(name).status) == ([name], PodStatus.ONLINE)


@pytest.mark.parametrize("how", ["failed", "never registered", "vanished"])
def test_a_pod_that_does_not_work_is_replaced_and_counted_once(fleet: FleetWorld, how: str) -> None:
    """docs/failures.md 24: by pool, not by the name of the pod, which is another one each time."""
    fleet.pool(min_pods=1)
    fleet.manager.reconcile_pods()
    [name] = fleet.names()
    if how == "failed":
        fleet.runtime.change(name, phase=PodPhase.FAILED, reason="no such image")
    elif how == "never registered":
        fleet.runtime.change(name, phase=PodPhase.STARTING, reason="no such image")
        fleet.world.clock.advance(121)
    else:
        fleet.register(name)
        fleet.runtime.vanish(name)
    for _ in range(4):
        fleet.manager.reconcile_pods()
        for pod in list(fleet.runtime.pods.values()):
            if pod.phase is PodPhase.STOPPING:
                fleet.runtime.vanish(pod.name)
    [other] = fleet.names()
    assert other != name
    assert list(fleet.runtime.pods) == [other]
    pool = fleet.pool(min_pods=1)
    assert pool.failures.count == 1
    assert ("no such image" in (pool.failed_reason or "")) is (how != "vanished")
    fleet.register(other)
    fleet.world.clock.advance(31)
    fleet.manager.reconcile_pods()
    assert fleet.pool(min_pods=1).failures.count == 0, "a pod works again"


def test_a_pod_that_never_comes_back_keeps_what_may_be_alive_in_it(fleet: FleetWorld) -> None:
    fleet.adopt(POD)
    run = fleet.world.with_effects()
    fleet.world.clock.advance(31)
    recovering.check_agents(fleet.core)
    fleet.runtime.change(POD, phase=PodPhase.STARTING, started_at=fleet.world.clock.now_ms() + 1)
    fleet.manager.reconcile_pods()
    assert fleet.pod(POD).status is PodStatus.STARTING
    fleet.world.clock.advance(121)
    fleet.manager.reconcile_pods()
    assert fleet.pod(POD).status is PodStatus.OFFLINE
    assert fleet.world.slot().run_id == run.id
    assert fleet.runtime.pods[POD].phase is PodPhase.STARTING


def test_a_pod_that_nobody_wants_is_deleted(fleet: FleetWorld) -> None:
    """docs/failures.md 24: somebody was killed after its rows had gone, or the database is a backup."""
    fleet.runtime.create(PodSpec(name="stray", pool="default", slots=1, generation=1, template=None))
    fleet.manager.reconcile_pods()
    assert fleet.runtime.pods["stray"].phase is PodPhase.STOPPING
    assert fleet.names() == []


def test_pods_of_another_runtime_and_of_nobody_are_not_taken_for_gone(fleet: FleetWorld) -> None:
    """Two machines with one database: what is not listed here may live there."""
    fleet.adopt(POD)
    run = fleet.world.with_effects()
    fleet.world.pod("byhand")
    elsewhere = FakePodRuntime(identity="elsewhere")
    other = PodManager(fleet.core, elsewhere, scale=keep_minimum)
    other.reconcile_pods()
    assert fleet.names() == ["byhand", POD]
    assert fleet.world.run(run.id).status is S.APPLYING
    fleet.world.clock.advance(4000)
    recovering.check_agents(fleet.core)
    fleet.world.clock.advance(4000)
    other.reconcile_pods()
    assert fleet.names() == [POD], "silent for an hour, and nothing is held there"


def test_what_is_kept_in_a_pod_without_work_is_given_back(fleet: FleetWorld) -> None:
    fleet.adopt(POD)
    run = fleet.world.at(S.APPLY_PENDING)
    fleet.world.do(pods.set_offline, POD, f"{POD}-boot1")
    fleet.manager.reconcile_reserved_pods()
    assert fleet.world.run(run.id).prepared_slot_id is None
    assert fleet.world.slot().run_id is None
    fleet.world.check()


class Killed(BaseException):
    """The process died here."""


class Fuse:
    """Lets a process die after its n-th change of anything."""

    def __init__(self, changes: int) -> None:
        self.left = changes

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


class DyingRuntime(FakePodRuntime):
    fuse = Fuse(0)

    def create(self, spec: PodSpec) -> None:
        super().create(spec)
        self.fuse.burn()

    def delete(self, name: str, *, uid: str | None = None) -> None:
        super().delete(name, uid=uid)
        self.fuse.burn()


class DyingDatabase(Database):
    fuse = Fuse(0)

    def run(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        done = super().run(step, *args, **kwargs)
        self.fuse.burn()
        return done

    def attempt(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        done = super().attempt(step, *args, **kwargs)
        self.fuse.burn()
        return done


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_it_may_be_killed_between_any_two_steps(world: World, tmp_path: Path) -> None:
    """docs/failures.md 18, 24: a pod is asked for, works, is deleted with what runs in it, and is replaced."""
    changes = 0
    fuse = Fuse(1)
    while fuse.left <= 0 or changes == 0:  # until it was long enough to be killed nowhere
        changes += 1
        fuse = Fuse(changes)
        empty(world.database)
        _play(world, tmp_path, fuse)
    assert changes > 12


def _play(world: World, home: Path, fuse: Fuse) -> None:
    dying = DyingDatabase(world.url, clock=world.clock.now_ms)
    core = dataclasses.replace(make_core(world.url, home, clock=world.clock), database=dying)
    fleet = FleetWorld(world, core)
    fleet.runtime = DyingRuntime()
    fleet.runtime.fuse = dying.fuse = fuse
    fleet.pool(min_pods=1)
    with contextlib.closing(dying):
        [name] = _settled(fleet)
        run = world.enqueue()
        slot = world.database.read(slots.at, name, 1)
        world.do(waiting.dispatch, run, slot)
        world.do(owning.claim, run.id, Phase.PLAN, 1, world.place(pod_name=name), lease_ms=LEASE_MS)
        for _ in range(2):  # whoever asked asks again if they got no answer
            with contextlib.suppress(Killed, NotFound):
                fleet.another().delete_pod(name, reason="by alice", force=True)
        [other] = _settled(fleet)
    assert other != name
    assert list(fleet.runtime.pods) == [other]
    assert world.run(run.id).status is S.PENDING
    assert fleet.pool(min_pods=1).failures.count == 0
    world.check()


def _settled(fleet: FleetWorld) -> list[str]:
    """Look again and again, while agents register and pods that were told to end do so."""
    for _ in range(10):
        with contextlib.suppress(Killed):
            fleet.another().reconcile_pods()
        for name, pod in list(fleet.runtime.pods.items()):
            if pod.phase is PodPhase.STOPPING:
                fleet.runtime.vanish(name)
            elif fleet.pod(name).status is PodStatus.STARTING:
                fleet.register(name)
        names = fleet.names()
        if names == list(fleet.runtime.pods) and [fleet.pod(name).status for name in names] == ["online"]:
            return names
    raise AssertionError(f"it does not settle: {fleet.names()}, {fleet.runtime.pods}")
