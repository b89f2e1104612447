"""Processes of neighbouring versions on one database: what the other one could not read is left alone, and not lost."""

import pytest

from iacq.domain import versions
from iacq.domain.run import Status
from iacq.domain.slot import Closed, PodStatus
from iacq.errors import Conflict
from iacq.services import agents, dispatching, participating, recovering, views, warming
from iacq.services.core import Core
from iacq.store import control, participation, pod_lifecycle, pods, pools
from iacq.store import slots as slot_rows
from iacq.store.pods import Registration
from iacq.store.protocol import owning, waiting
from iacq.store.protocol import recovering as recovering_steps
from iacq.store.protocol import warming as warming_steps
from tests.store.world import AGENT, CLAIM_MS, LEASE_MS, POD, WARMUP_MS, World

S = Status
OURS = versions.PROTOCOL
NEWER = OURS + 1
OLDER = OURS - 1


def pod(world: World, name: str, protocol: int, *, slots: int = 2, managed: bool = False) -> None:
    """Register a pod whose agent speaks this, and open its slots."""
    boot = Registration(
        pod_name=name, agent_id=f"{name}-boot1", pool="default", slots=slots, managed=managed, protocol=protocol
    )
    world.do(pods.register, boot)
    for number in range(1, slots + 1):
        world.do(slot_rows.open_again, world.place(number, pod_name=name))


def needing(world: World, run_id: int, protocol: int) -> None:
    """As if a newer version had stored what the run has."""
    world.set_run(run_id, needs_protocol=protocol)


class TestARunOfANewerVersion:
    def test_is_not_dispatched_by_us_and_says_why_it_waits(self, world: World, core: Core) -> None:
        pod(world, "new", NEWER)
        world.do(control.beat)
        run = world.enqueue(needs_protocol=NEWER)
        behind, other = world.enqueue(), world.enqueue("other")
        assert dispatching.dispatch(core) == 1
        assert [world.run(one.id).status for one in (run, behind, other)] == [S.PENDING, S.PENDING, S.PLAN_QUEUED]
        waiting_for = views.waiting_of(core, world.run(run.id))
        assert waiting_for is not None
        assert waiting_for.code == "newer_version"
        assert f"the control workers speak {OURS}" in waiting_for.text
        assert (world.run(run.id), waiting_for) in views.queue(core)

    def test_is_not_given_to_a_pod_that_could_not_read_it(self, world: World, core: Core) -> None:
        """Here we are the newer version, and the pods are of the one before."""
        pod(world, "old", OLDER)
        world.do(control.beat)
        run = world.enqueue()
        assert dispatching.dispatch(core) == 0
        waiting_for = views.waiting_of(core, world.run(run.id))
        assert waiting_for is not None
        assert f"the pods of its pool speak {OLDER}" in waiting_for.text
        needing(world, world.enqueue("readable").id, OLDER)
        assert dispatching.dispatch(core) == 1, "what the older pod can read goes there"
        pod(world, "young", OURS)
        assert dispatching.dispatch(core) == 1
        assert world.run(run.id).queue == "young.1"

    def test_finds_the_one_pod_among_many_that_can_read_it(self, world: World, core: Core) -> None:
        for number in range(25):
            pod(world, f"old-{number:02}", OLDER, slots=1)
        pod(world, "young", OURS, slots=1)
        runs = [world.enqueue(f"w{number}") for number in range(3)]
        assert dispatching.dispatch(core) == 1
        assert [world.run(run.id).queue for run in runs] == ["young.1", None, None]

    def test_is_not_claimed_whatever_rings(self, world: World) -> None:
        world.pod()
        run = world.at(S.PLAN_QUEUED)
        needing(world, run.id, NEWER)
        claim = (owning.claim, run.id, owning.Phase.PLAN, run.attempt, world.place())
        assert world.database.attempt(*claim, lease_ms=LEASE_MS) is None
        assert world.run(run.id).status is S.PLAN_QUEUED
        needing(world, run.id, OURS)
        assert world.database.attempt(*claim, lease_ms=LEASE_MS) is not None

    def test_is_neither_warmed_up_nor_applied_by_us(self, world: World, core: Core) -> None:
        world.pod()
        run, confirmed = world.lost(), world.lost(S.CONFIRMED, workspace="other")
        needing(world, run.id, NEWER)
        needing(world, confirmed.id, NEWER)
        assert warming.begin(core) == 0
        assert dispatching.dispatch(core) == 0
        needing(world, run.id, OURS)
        warmed = world.warming(world.run(run.id))
        needing(world, run.id, NEWER)
        claim = (warming_steps.claim, run.id, warmed.warmup_retries, world.place())
        assert world.database.attempt(*claim, within_ms=WARMUP_MS) is None

    def test_its_apply_is_adopted_by_a_newer_process_only(self, world: World) -> None:
        world.pod()
        run = world.with_effects()
        needing(world, run.id, NEWER)
        adopt = (recovering_steps.adopt, run.id, run.effects_fence, world.place(boot="b"))
        assert world.database.attempt(*adopt, lease_ms=LEASE_MS) is None
        assert world.run(run.id).status is S.APPLYING
        needing(world, run.id, OURS)
        assert world.database.attempt(*adopt, lease_ms=LEASE_MS) is not None

    def test_we_may_still_confirm_and_cancel_it(self, world: World) -> None:
        world.pod()
        run = world.at(S.APPLY_PENDING)
        needing(world, run.id, NEWER)
        queued, bell = world.do(waiting.confirm, world.run(run.id), by="bob", comment=None)
        assert (queued.status, bell.queue) == (S.APPLY_QUEUED, "pod1.1")
        assert world.do(waiting.cancel, queued, by="bob").status is S.CANCELLED

    def test_what_a_plan_stored_is_for_whoever_goes_on(self, world: World) -> None:
        world.pod()
        run = world.at(S.PLANNING)
        result = owning.PlanResult(status=S.FAILED, values={"needs_protocol": NEWER}, expires_in_ms=CLAIM_MS)
        finished, _ = world.do(owning.finish_plan, world.hold(run), world.place(), result)
        assert finished.needs_protocol == NEWER


class TestADatabaseThatDemandsANewerVersion:
    @pytest.fixture(autouse=True)
    def demanding(self, world: World) -> None:
        world.do(participation.demand, OURS)

    def test_an_older_agent_gets_nothing_new_and_ends_what_it_has(self, world: World, core: Core) -> None:
        world.pod()
        run = world.at(S.PLANNING)
        boot = Registration(pod_name=POD, agent_id=AGENT, pool="default", slots=2, protocol=OLDER)
        agents.register(core, boot)
        found = core.database.read(pods.find, POD)
        assert found is not None
        assert (found.status, found.protocol) == (PodStatus.DRAINING, OLDER)
        assert f"demands {OURS}" in (found.reason or "")
        assert {slot.closed for slot in core.database.read(slot_rows.listed)} == {Closed.DRAINING}
        assert not world.do(slot_rows.open_again, world.place(2))
        world.do(owning.renew, world.hold(run), lease_ms=LEASE_MS, stage="plan")
        assert world.planned(run).status is S.APPLY_PENDING
        world.enqueue("other")
        assert dispatching.dispatch(core) == 0

    def test_one_that_registered_before_is_drained(self, world: World, core: Core) -> None:
        world.pod()
        pod(world, "young", NEWER)
        queued = world.at(S.PLAN_QUEUED)
        world.set_pod(POD, protocol=OLDER)
        assert recovering.check_agents(core) == 1
        assert world.run(queued.id).status is S.PENDING, "what waited there goes elsewhere"
        status = {found.name: found.status for found in core.database.read(pods.listed)}
        assert status == {POD: PodStatus.DRAINING, "young": PodStatus.ONLINE}
        assert recovering.check_agents(core) == 0

    def test_a_pod_of_a_runtime_that_is_too_old_counts_as_failed(self, world: World, core: Core) -> None:
        """So an old image is tried again more and more rarely, and its pool says why."""
        world.do(pools.ensure, "default", slots=2)
        world.do(pod_lifecycle.ask, "asked", pool="default", runtime="cluster", existing=0)
        pod(world, "asked", OLDER, managed=True)
        [pool] = core.database.read(pools.listed)
        assert pool.failures.count == 1
        assert f"demands {OURS}" in (pool.failed_reason or "")

    def test_we_may_take_part_and_an_older_one_is_told(self, world: World, core: Core) -> None:
        participating.require(core.database)
        world.do(participation.demand, NEWER)
        with pytest.raises(Conflict, match=f"speaks protocol {OURS}, and the database demands {NEWER}"):
            participating.require(core.database)


class TestTheEndOfAnUpgrade:
    def test_not_while_something_older_is_heard(self, world: World, core: Core) -> None:
        pod(world, "old", OLDER)
        pod(world, "young", NEWER)
        world.do(control.beat, OLDER)
        world.do(control.beat)
        with pytest.raises(Conflict, match=r"an older version is still running: a control worker, pod old$"):
            participating.require_nothing_older(core.database, silence_ms=30_000)
        world.clock.advance(31)
        participating.require_nothing_older(core.database, silence_ms=30_000)

    def test_the_demand_only_grows(self, world: World, core: Core) -> None:
        assert participating.demand_this(core.database)
        assert not participating.demand_this(core.database)
        world.do(participation.demand, NEWER)
        assert not participating.demand_this(core.database)
        assert core.database.read(participation.demanded) == NEWER


def test_control_workers_of_two_versions_are_both_seen(world: World, core: Core) -> None:
    world.do(control.beat, OLDER)
    world.clock.advance(10)
    world.do(control.beat, NEWER)
    world.do(control.tick)
    assert core.database.read(control.protocols, ms=30_000) == {OLDER, NEWER}
    assert core.database.read(control.silences) == (0, 0)
    world.clock.advance(25)
    assert core.database.read(control.protocols, ms=30_000) == {NEWER}
    assert core.database.read(control.seen_within, ms=30_000)
