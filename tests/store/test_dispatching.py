import pytest

from iacq.domain.pool import PoolPolicy
from iacq.domain.run import RunType, Status
from iacq.domain.slot import Closed
from iacq.services import dispatching
from iacq.services.core import Core
from iacq.store import pools, queue, startable, workspaces
from iacq.testing.dispatcher import RecordingDispatcher
from tests.store.world import World

S = Status


def dispatched(core: Core) -> list[int]:
    """Dispatch, and return the runs that were rung for, in order."""
    dispatcher = core.dispatcher
    assert isinstance(dispatcher, RecordingDispatcher)
    dispatcher.bells.clear()
    count = dispatching.dispatch(core)
    assert count == len(dispatcher.bells)
    return [bell.run_id for bell in dispatcher.bells]


def test_one_state_changing_run_of_a_workspace_by_priority_then_oldest(world: World, core: Core) -> None:
    world.pod(slots_of_pod=5)
    old, urgent = world.enqueue(), world.enqueue(priority=5)
    other, plan, drift = (
        world.enqueue("other"),
        world.enqueue(run_type=RunType.PLAN),
        world.enqueue(run_type=RunType.DRIFT),
    )
    assert dispatched(core) == [urgent.id, other.id, plan.id, drift.id]
    assert dispatched(core) == []
    assert world.run(old.id).status is S.PENDING
    world.check()


def test_what_is_confirmed_goes_before_what_is_new(world: World, core: Core) -> None:
    world.pod(slots_of_pod=1)
    confirmed = world.at(S.CONFIRMED)
    world.enqueue("other")
    assert dispatched(core) == [confirmed.id]
    assert world.slot(1).run_id == confirmed.id


def test_its_own_slot_first(world: World, core: Core) -> None:
    world.pod("a-fuller-pod", slots_of_pod=3)
    world.pod()
    confirmed = world.at(S.CONFIRMED, slot_id=2)
    assert dispatched(core) == [confirmed.id]
    assert world.run(confirmed.id).queue == "pod1.2"


def test_another_slot_if_its_own_is_closed(world: World, core: Core) -> None:
    world.pod()
    confirmed = world.at(S.CONFIRMED)
    world.set_slot(1, closed=Closed.NOT_ANSWERING)
    assert dispatched(core) == [confirmed.id]
    assert world.run(confirmed.id).queue == "pod1.2"
    assert world.slot(1).run_id is None
    world.check()


@pytest.mark.parametrize("status", [S.PENDING, S.CONFIRMED])
def test_a_lock_holds_state_changing_runs(world: World, core: Core, status: Status) -> None:
    world.pod()
    run = world.at(status)
    plan = world.enqueue(run_type=RunType.PLAN)
    world.do(workspaces.lock, "network", by="eve", reason="x")
    assert dispatched(core) == [plan.id]
    world.do(workspaces.unlock, "network")
    assert dispatched(core) == [run.id]


def test_an_interrupted_run_holds_its_workspace(world: World, core: Core) -> None:
    world.pod()
    world.at(S.APPLY_INTERRUPTED)
    world.enqueue()
    plan = world.enqueue(run_type=RunType.PLAN)
    assert dispatched(core) == [plan.id]


def test_a_run_stays_in_its_pool(world: World, core: Core) -> None:
    world.pod(pool="other-pool")
    world.enqueue()
    assert dispatched(core) == []


def test_three_unread_plans_never_block_a_fourth_run(world: World, core: Core) -> None:
    world.do(pools.set_policy, "default", PoolPolicy(max_pods=1, slots_per_pod=3))
    world.pod(slots_of_pod=3)
    unread = []
    for number in (2, 3, 1):
        unread.append(world.at(S.APPLY_PENDING, workspace=f"w{number}", slot_id=number))
        world.clock.advance(1)
    fourth = world.enqueue("fourth")
    assert dispatched(core) == [fourth.id]
    assert world.run(fourth.id).queue == "pod1.2", "the oldest reservation is given up"
    first = world.run(unread[0].id)
    assert (first.status, first.prepared_slot_id) == (S.APPLY_PENDING, None)
    assert [world.slot(number).run_id for number in (3, 1)] == [unread[1].id, unread[2].id]
    world.check()


def test_no_reservation_is_given_up_below_the_maximum(world: World, core: Core) -> None:
    world.do(pools.set_policy, "default", PoolPolicy(max_pods=2, slots_per_pod=1))
    world.pod(slots_of_pod=1)
    unread = world.at(S.APPLY_PENDING)
    world.enqueue("other")
    assert dispatched(core) == []
    assert world.slot(1).run_id == unread.id


def test_a_reservation_of_a_confirmed_run_is_never_given_up(world: World, core: Core) -> None:
    world.do(pools.set_policy, "default", PoolPolicy(max_pods=1, slots_per_pod=1))
    world.pod(slots_of_pod=1)
    confirmed = world.at(S.CONFIRMED)
    world.do(workspaces.lock, "network", by="eve", reason="x")
    world.enqueue("other")
    assert dispatched(core) == []
    assert world.slot(1).run_id == confirmed.id


def test_queries_see_only_rows_that_iacq_wrote(world: World) -> None:
    """The fixture puts rows of somebody else beside ours, in every state."""
    assert world.database.read(queue.confirmed, ["default"]) == []
    assert world.database.read(startable.find, ["default"]) == ([], None)
    assert world.database.read(queue.running_counts) == ({}, {})
    assert world.database.read(queue.active_of, "network") is None
    assert world.database.read(queue.first_pending_of, "network", "default") is None
