"""Pods come and go as iacq decides, whatever happens in between."""

import dataclasses

import pytest

from iacq.domain.run import Phase, Status
from iacq.domain.slot import Closed, PodStatus
from iacq.errors import Conflict, InvalidInput, NotFound, Unavailable
from iacq.ports import PodPhase
from iacq.services import agents, views
from iacq.services.core import Core
from iacq.store import control, pods, pools, schema
from iacq.store.pods import Registration
from iacq.store.protocol import owning
from tests.store.fleet import FleetWorld
from tests.store.world import World


@pytest.fixture
def fleet(world: World, core: Core) -> FleetWorld:
    return FleetWorld(world, core)


def test_a_pod_is_asked_for_registers_drains_and_goes(fleet: FleetWorld) -> None:
    name = fleet.create()
    assert name.startswith("default-")
    assert (fleet.pod(name).status, fleet.pod(name).generation) == (PodStatus.STARTING, 1)
    assert fleet.runtime.specs[name].slots == 2
    fleet.register(name)
    assert fleet.pod(name).status is PodStatus.ONLINE
    assert fleet.manager.find_pod_with_free_slot("default") is not None
    assert fleet.manager.drain_pod(name, reason="not needed")
    assert (fleet.pod(name).status, fleet.pod(name).reason) == (PodStatus.DELETING, "not needed")
    assert fleet.manager.find_pod_with_free_slot("default") is None
    assert fleet.runtime.pods[name].phase is PodPhase.STOPPING
    fleet.manager.reconcile_pods()
    assert fleet.names() == [name], "it exists until the runtime says that it does not"
    fleet.runtime.vanish(name)
    fleet.manager.reconcile_pods()
    assert fleet.names() == []
    assert fleet.pool().failures.count == 0


def test_the_scaler_drains_no_pod_in_which_something_is_held(fleet: FleetWorld) -> None:
    """docs/failures.md 17, 20: nor does a run get a slot that was closed."""
    name = fleet.online()
    run = fleet.world.enqueue()
    slot = fleet.manager.find_pod_with_free_slot("default")
    assert slot is not None
    assert fleet.manager.assign_task_to_slot(run, slot) is not None
    assert not fleet.manager.drain_pod(name, reason="not needed")
    assert all(slot.closed is None for slot in fleet.manager.list_pods("default")[0].slots)
    other = fleet.world.enqueue("other")
    free = fleet.manager.find_pod_with_free_slot("default")
    assert free is not None
    held = fleet.manager.get_slot_status(slot.pod_name, slot.slot_id)
    assert held is not None
    assert fleet.manager.release_slot(held)
    assert fleet.manager.drain_pod(name, reason="not needed")
    assert fleet.manager.assign_task_to_slot(other, free) is None
    assert fleet.world.run(other.id).status is Status.PENDING
    fleet.world.check()


def test_deleting_a_pod_in_use_needs_force(fleet: FleetWorld) -> None:
    name = fleet.online()
    run = fleet.world.enqueue()
    slot = fleet.manager.find_pod_with_free_slot("default")
    assert slot is not None
    fleet.manager.assign_task_to_slot(run, slot)
    with pytest.raises(Conflict, match=f"holds run {run.id}"):
        fleet.manager.delete_pod(name, reason="by alice")
    assert fleet.pod(name).status is PodStatus.ONLINE
    fleet.manager.delete_pod(name, reason="by alice", force=True)
    assert fleet.pod(name).status is PodStatus.DELETING
    assert fleet.world.run(run.id).status is Status.PENDING, "what was queued goes elsewhere at once"
    assert all(slot.closed is Closed.DRAINING for slot in fleet.manager.list_pods("default")[0].slots)
    with pytest.raises(NotFound):
        fleet.manager.delete_pod("nobody", reason="by alice")


def test_two_scalers_do_not_both_add_the_last_pod(fleet: FleetWorld) -> None:
    pool = fleet.pool()
    assert fleet.manager.create_pod(pool, existing=0) is not None
    assert fleet.another().create_pod(pool, existing=0) is None
    assert len(fleet.names()) == 1


def test_a_runtime_that_is_away_delays_a_pod_and_loses_none(fleet: FleetWorld) -> None:
    fleet.runtime.away = True
    with pytest.raises(Unavailable):
        fleet.create()
    [name] = fleet.names()
    fleet.manager.reconcile_pods()
    fleet.runtime.away = False
    fleet.manager.reconcile_pods()
    assert list(fleet.runtime.pods) == [name]


def test_a_template_that_is_refused_counts_as_a_failure_and_says_why(fleet: FleetWorld) -> None:
    """docs/failures.md 24: with a bounded back-off that belongs to the pool."""
    fleet.runtime.refuses = InvalidInput("there is no image x")
    fleet.create()
    fleet.manager.reconcile_pods()
    assert fleet.names() == []
    pool = fleet.pool()
    assert (pool.failures.count, pool.failed_reason) == (1, "there is no image x")


def test_a_pod_started_by_hand_is_listed_and_left_alone(fleet: FleetWorld) -> None:
    fleet.world.pod("byhand", pool="special")
    assert fleet.world.database.read(pools.find, "special").policy.max_pods == 0
    fleet.manager.reconcile_pods()
    [pod] = fleet.world.database.read(pods.listed)
    assert (pod.status, pod.managed) == (PodStatus.ONLINE, False)
    with pytest.raises(Conflict, match="by hand"):
        fleet.manager.delete_pod("byhand", reason="by alice", force=True)
    assert fleet.manager.drain_pod("byhand", reason="by alice")
    assert fleet.pod("byhand").status is PodStatus.DRAINING
    fleet.manager.reconcile_pods()
    assert fleet.pod("byhand").status is PodStatus.DRAINING, "its process still runs"
    fleet.world.do(pods.register, Registration(pod_name="byhand", agent_id="next", pool="special", slots=2))
    assert fleet.pod("byhand").status is PodStatus.ONLINE, "whoever starts it wants it"
    agents.leave(fleet.core, Registration(pod_name="byhand", agent_id="next", pool="special", slots=2))
    assert fleet.names() == []


def test_an_agent_of_a_pod_that_nobody_wants_is_refused(fleet: FleetWorld) -> None:
    unwanted = Registration(pod_name="default-aaaaa", agent_id="a", pool="default", slots=2, managed=True)
    with pytest.raises(Conflict, match="not wanted"):
        fleet.world.do(pods.register, unwanted)
    assert fleet.names() == []


def test_a_pod_of_which_the_list_has_not_heard_is_not_taken_for_gone(fleet: FleetWorld) -> None:
    """What seems to be missing is asked for by its name."""
    name = fleet.online()
    fleet.runtime.unseen = {name}
    fleet.manager.reconcile_pods()
    assert fleet.pod(name).status is PodStatus.ONLINE
    fleet.runtime.vanish(name)
    fleet.manager.reconcile_pods()
    assert name not in fleet.names()


def test_whether_runs_need_a_pod_is_said_when_that_changes(fleet: FleetWorld) -> None:
    name = fleet.create(min_pods=1)
    fleet.manager.reconcile_pods()
    assert (fleet.runtime.pods[name].in_use, fleet.runtime.marks) == (True, 0), "what waits needs one that comes"
    fleet.register(name)
    for _ in range(2):
        fleet.manager.reconcile_pods()
    assert (fleet.runtime.pods[name].in_use, fleet.runtime.marks) == (False, 1)
    run = fleet.world.enqueue()
    slot = fleet.manager.find_pod_with_free_slot("default")
    assert slot is not None
    assert fleet.manager.assign_task_to_slot(run, slot) is not None
    for _ in range(2):
        fleet.manager.reconcile_pods()
    assert (fleet.runtime.pods[name].in_use, fleet.runtime.marks) == (True, 2)


def test_a_cluster_that_refuses_the_mark_keeps_no_pod_from_being_looked_after(
    fleet: FleetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Conflict("the cluster does not allow to patch the pod")

    monkeypatch.setattr(fleet.runtime, "mark", refuse)  # the fake allows everything
    fleet.online(min_pods=1)
    fleet.pool(min_pods=2)
    fleet.manager.reconcile_pods()
    assert len(fleet.names()) == 2


def test_a_runtime_that_does_not_mark_pods_is_not_asked_to(fleet: FleetWorld) -> None:
    name = fleet.online(min_pods=1)
    fleet.runtime.pods[name] = dataclasses.replace(fleet.runtime.pods[name], in_use=None)
    fleet.manager.reconcile_pods()
    assert fleet.runtime.marks == 0


def test_why_a_pod_does_not_run_is_why_runs_wait(fleet: FleetWorld) -> None:
    """First what keeps it from running, then that it was given up and when the next one comes."""
    name = fleet.create(min_pods=1)
    run = fleet.world.enqueue()
    fleet.runtime.change(name, phase=PodPhase.STARTING, reason="container worker: ErrImagePull: no such image")
    fleet.manager.reconcile_pods()
    fleet.world.do(control.beat)
    assert fleet.pod(name).reason == "container worker: ErrImagePull: no such image"
    waiting = views.waiting_of(fleet.core, run)
    assert waiting is not None
    assert (waiting.code, "ErrImagePull" in waiting.text) == ("starting_pod", True)
    fleet.runtime.change(name, phase=PodPhase.FAILED, reason="it was evicted from its node")
    fleet.manager.reconcile_pods()
    assert fleet.pod(name).status is PodStatus.DELETING
    [(_, waiting)] = views.queue(fleet.core)
    assert waiting is not None
    assert waiting.code == "pods_fail"
    assert "it was evicted from its node; the next one is tried at" in waiting.text


def test_a_silent_pod_of_a_lost_node_says_so_and_keeps_what_it_holds(fleet: FleetWorld) -> None:
    name = fleet.online(min_pods=1)
    run = fleet.world.enqueue()
    slot = fleet.manager.find_pod_with_free_slot("default")
    assert slot is not None
    assert fleet.manager.assign_task_to_slot(run, slot) is not None
    place = fleet.world.place(slot.slot_id, pod_name=name, agent_id=f"{name}-boot1")
    attempt = fleet.world.run(run.id).attempt
    assert fleet.world.do(owning.claim, run.id, Phase.PLAN, attempt, place, lease_ms=3_600_000)
    fleet.world.do(pods.set_offline, name, f"{name}-boot1")
    fleet.world.do(lambda tx: tx.execute(schema.pods.update().values(since_ms=1)))
    fleet.runtime.change(name, phase=PodPhase.STOPPING, reason="its node does not answer")
    fleet.manager.reconcile_pods()
    assert (fleet.pod(name).status, fleet.pod(name).reason) == (PodStatus.OFFLINE, "its node does not answer")
    assert fleet.world.run(run.id).status is Status.PLANNING
