"""The scaler on real rows: what it counts, what it does, and what it leaves alone."""

import random
from typing import Any

import pytest

from iacq.domain import transitions
from iacq.domain.pool import Demand
from iacq.domain.run import Phase, Run, RunType, Status
from iacq.domain.slot import PodStatus, Slot, SlotStatus
from iacq.errors import NotFound
from iacq.messages import RECONCILE_PODS
from iacq.services import dispatching, scaling
from iacq.services.core import Core
from iacq.services.dispatching import Remembered
from iacq.services.scaling import Decision
from iacq.store import demand, pools, slots, workspaces
from iacq.store.protocol import owning, waiting
from iacq.store.schema import runs as run_table
from iacq.store.schema import slots as slot_table
from iacq.testing.dispatcher import RecordingDispatcher
from tests.store.fleet import FleetWorld
from tests.store.test_startable import enqueue
from tests.store.world import World, plan_result

S = Status


class Fleet(FleetWorld):
    """Managed pods whose number the scaler decides."""

    def scale(self) -> Decision:
        return scaling.scale(self.core, self.manager, self.world.database.read(pools.get, "default"))

    def start(self) -> None:
        """Let every pod that was asked for register."""
        for name in self.names():
            if self.pod(name).status is PodStatus.STARTING:
                self.register(name)

    def dispatch(self) -> int:
        return dispatching.dispatch(self.core)

    def slot_of(self, run: Run) -> Slot:
        found = self.world.database.read(slots.held_by, run.id)
        assert found is not None
        return found

    def plan(self, run: Run) -> None:
        """Let a queued run plan, and keep its slot for a confirmation."""
        slot, queued = self.slot_of(run), self.world.run(run.id)
        place = self.world.place(slot.slot_id, pod_name=slot.pod_name)
        claimed = self.world.do(owning.claim, run.id, Phase.PLAN, queued.attempt, place, lease_ms=45_000)
        self.world.do(owning.finish_plan, self.world.hold(claimed), place, plan_result())

    def end(self, *ended: Run) -> None:
        for run in ended:
            self.world.do(waiting.cancel, self.world.run(run.id), by="bob")

    def with_status(self, status: PodStatus) -> list[str]:
        return [name for name in self.names() if self.pod(name).status is status]

    def rung(self) -> list[str]:
        assert isinstance(self.core.dispatcher, RecordingDispatcher)
        return [rung.task for rung in self.core.dispatcher.rung]


@pytest.fixture
def fleet(world: World, core: Core) -> Fleet:
    return Fleet(world, core)


def test_from_zero_pods_to_as_many_as_are_needed_and_back(fleet: Fleet) -> None:
    """docs/failures.md 18, 20: zero pods are no reason for zero pods, and what was started is kept for the grace."""
    fleet.pool(max_pods=3, slots_per_pod=2, idle_grace_ms=60_000)
    assert fleet.scale().scaling.desired.pods == 0
    runs = [fleet.world.enqueue(f"w{number}") for number in range(5)]
    assert fleet.dispatch() == 0
    assert RECONCILE_PODS in fleet.rung(), "nobody waits for beat"
    assert fleet.scale().scaling.create == 3
    assert fleet.scale().scaling.create == 0, "what starts is not started again"
    fleet.start()
    assert fleet.dispatch() == 5
    assert fleet.scale().scaling.drain == ()
    fleet.end(*runs)
    assert fleet.scale().scaling.drain == ()
    fleet.world.clock.advance(61)
    assert len(fleet.scale().scaling.drain) == 3
    assert fleet.names() == fleet.with_status(PodStatus.DELETING)
    fleet.world.check()


def test_a_slot_that_is_kept_for_a_confirmation_keeps_its_pod_and_no_other(fleet: Fleet) -> None:
    """docs/failures.md 17, 25."""
    fleet.pool(max_pods=3, slots_per_pod=1, idle_grace_ms=1000)
    kept, done, interrupted = (fleet.world.enqueue(f"w{number}") for number in range(3))
    fleet.scale()
    fleet.start()
    assert fleet.dispatch() == 3
    fleet.plan(kept)
    fleet.world.set_run(interrupted.id, status=S.APPLY_INTERRUPTED, effects_at_ms=1, effects_fence=1)
    fleet.end(done)
    fleet.world.clock.advance(10)
    decided = fleet.scale()
    assert decided.inputs.demand == Demand(apply_pending=1, interrupted=1)
    assert decided.scaling.desired.pods == 2
    assert fleet.with_status(PodStatus.ONLINE) == sorted(fleet.slot_of(run).pod_name for run in (kept, interrupted))


def test_a_run_that_lost_its_slot_wants_one_until_it_may_not_be_prepared_again(fleet: Fleet) -> None:
    fleet.pool(max_pods=2, slots_per_pod=1)
    unread = fleet.world.enqueue("w")
    fleet.scale()
    fleet.start()
    fleet.dispatch()
    fleet.plan(unread)
    lost = fleet.slot_of(unread)
    fleet.world.do(waiting.give_up_reservation, fleet.world.run(unread.id), lost)
    assert fleet.scale().inputs.demand == Demand(unprepared=1)
    fleet.world.set_run(unread.id, warmup_retry_count=fleet.core.settings.warmup_retries)
    assert fleet.scale().inputs.demand == Demand()


def test_pods_that_were_started_by_hand_stay(fleet: Fleet) -> None:
    fleet.pool(max_pods=1, idle_grace_ms=0)
    fleet.world.pod("by-hand")
    fleet.world.clock.advance(1)
    assert fleet.scale().scaling.drain == ()
    assert fleet.with_status(PodStatus.ONLINE) == ["by-hand"]


def test_of_two_that_see_the_same_lack_one_starts_each_pod(fleet: Fleet) -> None:
    fleet.pool(max_pods=5, slots_per_pod=1)
    for number in range(3):
        fleet.world.enqueue(f"w{number}")
    late = fleet.world.database.read(pools.get, "default")
    stale = scaling.decide(fleet.core, "default")
    fleet.scale()
    for number in range(stale.scaling.create):
        assert fleet.manager.create_pod(late, existing=number) is None
    assert len(fleet.names()) == 3


def test_at_the_maximum_the_oldest_reservations_make_room(fleet: Fleet) -> None:
    fleet.pool(max_pods=1, slots_per_pod=3)
    unread = [fleet.world.enqueue(f"w{number}") for number in range(3)]
    fleet.scale()
    fleet.start()
    fleet.dispatch()
    for run in unread:
        fleet.plan(run)
        fleet.world.clock.advance(1)
    waiting_ = [fleet.world.enqueue(f"v{number}") for number in range(2)]
    assert fleet.dispatch() == 2, "at once"
    assert fleet.slot_of(unread[2])
    assert {fleet.slot_of(run).status for run in waiting_} == {SlotStatus.RUNNING}
    fleet.world.check()


def test_a_reservation_goes_once_however_often_it_is_asked(fleet: Fleet) -> None:
    """Dispatch and scaler ask for each other: neither does so without end."""
    fleet.pool(max_pods=1, slots_per_pod=1)
    unread = fleet.world.enqueue("w")
    fleet.scale()
    fleet.start()
    fleet.dispatch()
    fleet.plan(unread)
    first, _second = fleet.world.enqueue("v"), fleet.world.enqueue("u")
    remembered = Remembered()
    assert [dispatching.dispatch(fleet.core, remembered) for _ in range(3)] == [1, 0, 0]
    assert fleet.slot_of(first)
    rung = len(fleet.rung())
    for _ in range(3):
        assert scaling.scale(fleet.core, fleet.manager, fleet.world.do(pools.get, "default")).scaling.give_up == 0
    assert len(fleet.rung()) == rung


def test_an_unknown_pool(core: Core) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        scaling.decide(core, "nowhere")


def test_the_reasons_say_inputs_rule_and_result(fleet: Fleet) -> None:
    fleet.pool(max_pods=1, slots_per_pod=2)
    for number in range(3):
        fleet.world.enqueue(f"w{number}")
    reasons = {reason.code: reason.text for reason in scaling.decide(fleet.core, "default").explain()}
    assert "3 queue_depth" in reasons["rule"]
    assert "maximum is 1" in reasons["limited"]
    assert "start 1" in reasons["result"]


def test_what_is_counted_is_what_the_rows_say(world: World) -> None:
    """docs/failures.md 19: neither does what was picked up vanish, nor count what could not start."""
    picked = random.Random(7)
    for _ in range(8):
        _clear(world)
        rows = _random_rows(picked)
        enqueue(world, rows)
        for name in ("w0", "w1", "w2", "w3"):
            world.workspace(name)
        locked = {"w3"} if picked.random() < 0.5 else set()
        for name in locked:
            world.do(workspaces.lock, name, by="eve", reason="x")
        stored = world.database.read(_rows)
        held = {row["id"] for row in stored if row["status"] in _HOLDERS and picked.random() < 0.8}
        world.do(_hold, held)
        found = world.database.read(demand.count, "default", at_most=100, warmups=3)
        assert found == _expected(stored, held, locked)


_HOLDERS = {*transitions.QUEUED, *transitions.RUNNING, S.APPLY_PENDING, S.CONFIRMED, S.APPLY_INTERRUPTED}


def _clear(world: World) -> None:
    for name in ("w0", "w1", "w2", "w3"):
        world.do(lambda tx: tx.execute(slot_table.delete()))
        world.do(lambda tx: tx.execute(run_table.delete().where(run_table.c.fence.is_not(None))))
        if world.do(workspaces.find, name) is not None:
            world.do(workspaces.delete, name, force=True)


def _random_rows(picked: random.Random) -> list[dict[str, Any]]:
    rows, active = [], set()
    for _ in range(picked.randrange(1, 30)):
        row = {
            "workspace_id": f"w{picked.randrange(4)}",
            "task_type": picked.choice(list(RunType)),
            "status": picked.choice([S.PENDING, S.PENDING, *Status]),
            "priority": picked.randrange(2),
            "pool": picked.choice(["default", "default", "other"]),
            "effects_at_ms": 1,
            "confirmed_ms": 1,
        }
        changing = row["task_type"].changes_state
        if changing and row["status"] in transitions.ACTIVE:
            if row["workspace_id"] in active:
                continue
            active.add(row["workspace_id"])
        rows.append(row)
    # What waits of a workspace waits in one pool.
    return [row | {"pool": "default"} if row["status"] is S.PENDING else row for row in rows]


def _rows(tx: Any) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in tx.execute(run_table.select().where(run_table.c.fence.is_not(None)))]


def _hold(tx: Any, held: set[int]) -> None:
    for number in held:
        tx.execute(
            slot_table.insert().values(
                pod_name=f"p{number}",
                slot_id=1,
                agent_id="a",
                pool="x",
                status="running",
                run_id=number,
                protocol=1,
                updated_ms=1,
            )
        )


def _expected(rows: list[dict[str, Any]], held: set[int], locked: set[str]) -> Demand:
    active = {
        r["workspace_id"] for r in rows if RunType(r["task_type"]).changes_state and r["status"] in transitions.ACTIVE
    }
    pending = [row for row in rows if row["status"] == S.PENDING]
    changing = {row["workspace_id"] for row in pending if RunType(row["task_type"]).changes_state}
    ours = [row for row in rows if row["pool"] == "default"]

    def number(*statuses: Status, holding: bool | None = None) -> int:
        of_status = [row for row in ours if row["status"] in statuses]
        return sum(holding is None or (row["id"] in held) is holding for row in of_status)

    waiting_confirmed = [
        row
        for row in ours
        if row["status"] == S.CONFIRMED and row["id"] not in held and row["workspace_id"] not in locked
    ]
    return Demand(
        startable=sum(not RunType(row["task_type"]).changes_state for row in pending) + len(changing - active - locked),
        confirmed=len(waiting_confirmed),
        running=number(*transitions.QUEUED, *transitions.RUNNING) + number(S.CONFIRMED, holding=True),
        interrupted=number(S.APPLY_INTERRUPTED, holding=True),
        apply_pending=number(S.APPLY_PENDING, holding=True),
        unprepared=number(S.APPLY_PENDING),  # none of these rows is prepared anywhere
    )
