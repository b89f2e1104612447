"""Warm-ups as control workers run them: who gets one, where, how often, and how it ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from iacq.domain.pool import PoolPolicy
from iacq.domain.run import Run, RunType, Status, WarmupStatus
from iacq.domain.slot import Closed, SlotStatus
from iacq.messages import BEGIN_WARMUPS, SIGNAL_RUN, WARMUP
from iacq.services import agents, confirming, dispatching, freeze_changes, freezing, recovering, warming
from iacq.services.core import Core
from iacq.services.phases import warmup
from iacq.services.phases.context import SlotWorker
from iacq.store import pods, pools, slots, workspaces
from iacq.store.pods import Registration
from iacq.store.protocol import waiting
from iacq.store.protocol import warming as protocol
from iacq.testing.dispatcher import RecordingDispatcher, Rung
from iacq.testing.git import FakeGit
from iacq.testing.keeper import Machine, ScriptedKeeper
from iacq.testing.workshop import ScriptedWorkshop
from tests.store.world import CLAIM_MS, TTL_MS, WARMUP_MS, World

S, W = Status, WarmupStatus


def rung(core: Core) -> list[Rung]:
    """Return the bells of warm-ups since the last look."""
    assert isinstance(core.dispatcher, RecordingDispatcher)
    found = [one for one in core.dispatcher.rung if one.task == WARMUP]
    core.dispatcher.rung.clear()
    return found


def test_a_run_that_lost_its_slot_gets_a_free_one(world: World, core: Core) -> None:
    world.pod()
    run = world.lost()
    assert warming.begin(core) == 1
    assert rung(core) == [Rung(queue="pod1.1", task=WARMUP, arguments={"run_id": run.id, "retry": 1})]
    begun = world.run(run.id)
    assert (begun.status, begun.warmup_status, begun.warmup_retries) == (S.APPLY_PENDING, W.WARMING, 1)
    assert (begun.prepared_agent_id, begun.prepared_pod_name, begun.prepared_slot_id) == ("pod1-boot1", "pod1", 1)
    assert (world.slot(1).status, world.slot(1).run_id) == (SlotStatus.RESERVED, run.id)
    world.check()


def test_nobody_else_gets_one(world: World, core: Core) -> None:
    """Not a run that has its slot, nor one that was not planned, nor rows of somebody else."""
    world.pod(slots_of_pod=4)
    world.at(S.APPLY_PENDING)
    world.at(S.PLANNING, workspace="other", slot_id=2)
    world.set_run(world.lost(workspace="ended", slot_id=3).id, status=S.DISCARDED, completed_ms=1)
    assert warming.begin(core) == 0
    world.clock.advance(10 * 86_400)
    assert warming.expire(core) == 0
    assert rung(core) == []


def test_as_many_slots_stay_free_as_runs_can_start(world: World, core: Core) -> None:
    """docs/failures.md 2: what waits for a person never takes a slot that a run could use now."""
    world.pod(slots_of_pod=3)
    waits = world.lost()
    for name in ("a", "b", "c"):
        world.enqueue(name)
    assert warming.begin(core) == 0
    assert dispatching.dispatch(core) == 3
    assert warming.begin(core) == 0, "no slot is free"
    for slot_id in (1, 2):
        confirming.cancel(core, world.slot(slot_id).run_id or 0, by="eve")
    world.enqueue("d", run_type=RunType.PLAN)
    assert warming.begin(core) == 1
    assert dispatching.dispatch(core) == 1
    assert world.run(waits.id).warmup_status is W.WARMING
    world.check()


def test_a_slot_of_another_pool_or_a_closed_one_is_not_taken(world: World, core: Core) -> None:
    """docs/failures.md 21."""
    world.pod()
    world.pod("pod2", pool="other-pool")
    world.lost()
    world.set_slot(1, closed=Closed.DRAINING)
    world.set_slot(2, closed=Closed.NOT_ANSWERING)
    assert warming.begin(core) == 0


def test_a_confirmed_run_is_dispatched_not_warmed_up(world: World, core: Core) -> None:
    world.pod()
    run = world.lost(S.CONFIRMED)
    assert warming.begin(core) == 0
    world.do(workspaces.lock, "network", by="eve", reason="x")
    assert warming.begin(core) == 1, "nothing but the lock holds its apply"
    world.do(workspaces.unlock, "network")
    assert dispatching.dispatch(core) == 1
    assert world.run(run.id).queue == "pod1.1", "behind its warm-up"
    world.check()


def test_a_lost_bell_is_rung_again_until_it_is_claimed(world: World, core: Core) -> None:
    world.pod()
    run = world.lost()
    dispatcher = core.dispatcher
    assert isinstance(dispatcher, RecordingDispatcher)
    dispatcher.away = True
    assert warming.begin(core) == 1
    dispatcher.away = False
    assert warming.begin(core) == 0
    bell = {"run_id": run.id, "retry": 1}
    assert rung(core) == [Rung(queue="pod1.1", task=WARMUP, arguments=bell)]
    claimed = world.do(protocol.claim, run.id, 1, world.place(), within_ms=WARMUP_MS)
    assert (claimed.fence, claimed.warmup_fence) == (run.fence + 1, run.fence + 1)
    assert warming.begin(core) == 0
    assert rung(core) == []


def test_a_slot_that_does_not_take_it_is_closed(world: World, core: Core) -> None:
    world.pod()
    run = world.warming()
    world.clock.advance(CLAIM_MS / 1000 - 1)
    assert warming.expire(core) == 0
    world.clock.advance(1)
    assert warming.expire(core) == 1
    assert (world.slot(1).run_id, world.slot(1).closed) == (None, Closed.NOT_ANSWERING)
    assert world.run(run.id).warmup_status is W.FAILED
    assert warming.begin(core) == 1
    assert world.run(run.id).prepared_slot_id == 2
    world.check()


def test_an_apply_behind_a_warm_up_waits_without_blame(world: World, core: Core) -> None:
    world.pod()
    run = world.warming(claimed=True)
    queued = confirming.confirm(core, run.id, plan_hash=run.plan_hash or "", by="bob")
    assert (queued.status, queued.queue) == (S.APPLY_QUEUED, "pod1.1")
    world.clock.advance(CLAIM_MS / 1000 + 1)
    world.do(pods.beat, "pod1", "pod1-boot1")
    assert recovering.check_agents(core) == 0
    world.do(protocol.finish, world.warm_hold(run), world.place(), ttl_ms=TTL_MS)
    assert recovering.check_agents(core) == 0, "its time counts from the end of the warm-up"
    world.check()
    world.clock.advance(CLAIM_MS / 1000 + 1)
    world.do(pods.beat, "pod1", "pod1-boot1")
    assert recovering.check_agents(core) == 1
    assert (world.run(run.id).status, world.slot(1).closed) == (S.CONFIRMED, Closed.NOT_ANSWERING)
    world.check()


@pytest.mark.parametrize("claimed", [False, True])
def test_an_apply_behind_a_warm_up_that_never_ends_goes_elsewhere(world: World, core: Core, claimed: bool) -> None:
    world.pod()
    run = world.warming(claimed=claimed)
    confirming.confirm(core, run.id, plan_hash=run.plan_hash or "", by="bob")
    world.clock.advance(WARMUP_MS / 1000)
    assert warming.expire(core) == 1
    back = world.run(run.id)
    assert (back.status, back.warmup_status, back.prepared_slot_id) == (S.CONFIRMED, W.NONE, None)
    assert world.slot(1).closed is Closed.NOT_ANSWERING
    assert dispatching.dispatch(core) == 1
    assert world.run(run.id).queue == "pod1.2"
    world.check()


def test_a_failed_warm_up_behind_which_an_apply_waits_leaves_it_the_slot(world: World) -> None:
    world.pod()
    run = world.warming(claimed=True)
    world.do(lambda tx: protocol.renew(tx, world.warm_hold(run)))
    queued = world.do(waiting.confirm, run, by="bob", comment=None)[0]
    failed = world.do(protocol.fail, world.warm_hold(run), world.place())
    assert (failed.status, failed.warmup_status) == (S.APPLY_QUEUED, W.FAILED)
    assert world.slot(1).run_id == run.id
    applying = world.claimed(queued)
    assert (applying.status, applying.prepared_slot_id) == (S.APPLYING, None)
    world.check()


def test_a_warm_up_is_tried_so_often_and_no_more(world: World, core: Core) -> None:
    """docs/failures.md 23."""
    world.pod()
    run = world.lost()
    for retry in (1, 2, 3):
        assert warming.begin(core) == 1
        claimed = world.do(protocol.claim, run.id, retry, world.place(), within_ms=WARMUP_MS)
        world.do(protocol.fail, world.warm_hold(claimed), world.place())
    assert warming.begin(core) == 0
    assert world.run(run.id).warmup_retries == 3
    assert confirming.confirm(core, run.id, plan_hash=run.plan_hash or "", by="bob").status is S.CONFIRMED
    assert dispatching.dispatch(core) == 1, "the ordinary path is open"
    world.check()


def test_the_next_try_is_asked_for_at_once(world: World, core: Core, tmp_path: Path) -> None:
    world.pod()
    run = world.lost()
    assert warming.begin(core) == 1
    workshop = ScriptedWorkshop(tmp_path / "slot", tmp_path / "links", before=lambda _: None)
    keeper = ScriptedKeeper(Machine(), boottime=core.clock.boottime, script=lambda _job: (1, 0), before=lambda _: None)
    worker = SlotWorker(
        core=core, place=world.place(), keeper=keeper, workshop=workshop, git=FakeGit(), jobs=workshop.jobs
    )
    assert isinstance(core.dispatcher, RecordingDispatcher)
    core.dispatcher.rung.clear()
    assert warmup.answer_doorbell(worker, run.id, 1) is False, "there is no snapshot"
    assert world.run(run.id).warmup_status is W.FAILED
    assert BEGIN_WARMUPS in {rung.task for rung in core.dispatcher.rung}


def test_a_freeze_begins_anew(world: World, core: Core) -> None:
    world.pod()
    run = world.warming(claimed=True)
    assert world.do(protocol.reset, "default") == 0, "its slot is still there"
    recovering.settle_slots(core, [world.slot(1)])
    assert world.run(run.id).warmup_retries == 1
    assert world.do(protocol.reset, "another") == 0
    assert world.do(protocol.reset, "default") == 1
    assert world.run(run.id).warmup_retries == 0
    world.check()


def test_no_slot_is_taken_in_a_frozen_pool(world: World, core: Core) -> None:
    world.do(pools.set_policy, "default", PoolPolicy(max_pods=1, slots_per_pod=2))
    world.pod()
    run = world.warming(claimed=True)
    freeze_changes.freeze_now(core, "default", until=None, reason="x", by="eve")
    freezing.apply_windows(core)
    lost = world.run(run.id)
    assert (lost.warmup_status, lost.prepared_slot_id, lost.warmup_retries) == (W.NONE, None, 0)
    assert warming.begin(core) == 0
    freeze_changes.lift(core, "default", reason="x", by="eve")
    freezing.apply_windows(core)
    assert warming.begin(core) == 1
    assert world.run(run.id).warmup_retries == 1, "it begins anew"
    world.check()


def test_a_reservation_that_lasted_long_enough_is_not_followed_by_another(world: World, core: Core) -> None:
    world.pod()
    world.do(pools.set_policy, "default", PoolPolicy(max_pods=1, slots_per_pod=2))
    run = world.at(S.APPLY_PENDING)
    world.set_run(run.id, expires_ms=world.clock.now_ms() + 10 * 86_400_000)
    world.clock.advance(86_400)
    assert recovering.expire_plans(core) == 1
    assert (world.run(run.id).warmup_status, world.slot(1).run_id) == (W.EXPIRED, None)
    assert warming.begin(core) == 0
    world.check()


def test_a_slot_is_not_kept_ready_for_ever(world: World, core: Core) -> None:
    world.pod()
    run = world.ready()
    assert (run.warmup_status, run.warmup_until) == (W.READY, world.clock.now_ms() + TTL_MS)
    world.clock.advance(TTL_MS / 1000 - 1)
    assert warming.expire(core) == 0
    world.clock.advance(1)
    assert warming.expire(core) == 1
    expired = world.run(run.id)
    assert (expired.status, expired.warmup_status, expired.prepared_slot_id) == (S.APPLY_PENDING, W.EXPIRED, None)
    assert world.slot(1).run_id is None
    assert warming.begin(core) == 0, "it is not warmed up again while a person thinks"
    world.check()


def test_a_confirmation_takes_the_slot_that_is_ready(world: World, core: Core) -> None:
    world.pod()
    run = world.ready(slot_id=2)
    queued = confirming.confirm(core, run.id, plan_hash=run.plan_hash or "", by="bob")
    assert (queued.status, queued.queue) == (S.APPLY_QUEUED, "pod1.2")
    world.clock.advance(TTL_MS / 1000 + 1)
    assert warming.expire(core) == 0
    applying = world.claimed(queued, 2)
    assert (applying.warmup_status, applying.prepared_slot_id) == (W.READY, 2)
    world.check()


def test_a_pod_that_is_lost_takes_the_warm_up_with_it_and_another_begins(world: World, core: Core) -> None:
    """docs/failures.md 14: at once, and at the registration of a new agent."""
    world.pod()
    world.pod("pod2", slots_of_pod=1)
    run = world.at(S.APPLY_PENDING)
    world.clock.advance(31)
    world.do(pods.beat, "pod2", "pod2-boot1")
    assert recovering.check_agents(core) == 1
    assert warming.begin(core) == 1
    assert world.run(run.id).prepared_pod_name == "pod2"
    agents.register(core, Registration(pod_name="pod2", agent_id="pod2-boot2", pool="default", slots=1))
    lost = world.run(run.id)
    assert (lost.warmup_status, lost.warmup_retries, lost.prepared_pod_name) == (W.NONE, 1, None)
    assert warming.begin(core) == 0, "the slot of the new boot has not answered yet"
    assert world.do(slots.open_again, world.place(pod_name="pod2", agent_id="pod2-boot2"))
    assert warming.begin(core) == 1
    assert world.run(run.id).prepared_agent_id == "pod2-boot2"
    world.check()


@pytest.mark.parametrize("end", ["discard", "cancel", "expire"])
def test_the_end_of_the_run_ends_its_warm_up(world: World, core: Core, end: str) -> None:
    world.pod()
    run = world.ready()
    if end == "expire":
        world.clock.advance(8 * 86_400)
        assert recovering.expire_plans(core) == 1
    else:
        getattr(confirming, end)(core, run.id, by="eve")
    ended = world.run(run.id)
    assert (ended.warmup_status, ended.prepared_slot_id) == (W.NONE, None)
    assert world.slot(1).run_id is None
    world.check()


@pytest.mark.parametrize("end", [confirming.discard, confirming.cancel])
def test_a_slot_that_warms_up_hears_at_once_that_nobody_wants_it(
    world: World, core: Core, end: Callable[..., Run]
) -> None:
    world.pod()
    run = world.warming(slot_id=2, claimed=True)
    end(core, run.id, by="eve")
    assert isinstance(core.dispatcher, RecordingDispatcher)
    wakes = Rung(queue="pod1.agent", task=SIGNAL_RUN, arguments={"run_id": run.id, "slot_id": 2})
    assert wakes in core.dispatcher.rung
    assert world.database.attempt(protocol.renew, world.warm_hold(run)) is None


def test_a_claim_of_the_apply_forgets_a_warm_up_that_nobody_ended(world: World) -> None:
    """Its process died, and its successor heard the apply's bell first."""
    world.pod()
    run = world.warming(claimed=True)
    queued = world.do(waiting.confirm, run, by="bob", comment=None)[0]
    applying = world.claimed(queued)
    assert (applying.warmup_status, applying.warmup_fence, applying.prepared_slot_id) == (W.NONE, None, None)
    assert world.database.attempt(protocol.finish, world.warm_hold(run), world.place(), ttl_ms=TTL_MS) is None
    world.check()
