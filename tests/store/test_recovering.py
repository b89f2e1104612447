import contextlib
import dataclasses
import itertools
from pathlib import Path

import pytest
import sqlalchemy as sa

from iacq.domain import transitions
from iacq.domain.run import RunType, Status
from iacq.domain.slot import Closed
from iacq.errors import Unavailable
from iacq.messages import ANSWER
from iacq.services import agents, recovering
from iacq.services.core import Core
from iacq.services.recovering import LeaseWatch
from iacq.store import pods, runs, slots
from iacq.store.pods import Registration
from iacq.store.protocol import recovering as protocol
from iacq.store.schema import slots as slot_table
from iacq.store.session import Database
from iacq.testing.core import make_core
from iacq.testing.dispatcher import RecordingDispatcher, Rung
from tests import servers
from tests.store.world import EXPIRES_MS, LEASE_MS, World

S = Status
SILENCE = 31


def test_nothing_of_somebody_else_is_found(world: World, core: Core) -> None:
    world.clock.advance(10 * 86_400)
    assert world.database.read(protocol.expired_leases) == []
    assert world.database.read(slots.stale) == []
    assert world.database.read(runs.listed) == []
    assert world.database.read(runs.by_key, "network", "deploy-1") is None
    assert recovering.check_agents(core) == 0
    assert recovering.expire_plans(core) == 0
    watch = LeaseWatch()
    assert recovering.recover(core, watch) == 0
    world.clock.advance(60)
    assert recovering.recover(core, watch) == 0


def test_a_lease_is_lost_after_two_looks_apart(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.PLANNING)
    watch = LeaseWatch()
    world.clock.advance(LEASE_MS / 1000)
    assert recovering.recover(core, watch) == 0, "it has not ended yet"
    world.clock.advance(1)
    assert recovering.recover(core, watch) == 0
    world.clock.advance(19)
    assert recovering.recover(core, watch) == 0
    world.clock.advance(1)
    assert recovering.recover(core, watch) == 1
    assert world.run(run.id).status is S.PENDING
    world.check()


def test_an_outage_makes_no_lease_expire(world: World, core: Core, tmp_path: object) -> None:
    world.pod()
    world.at(S.PLANNING)
    watch = LeaseWatch()
    world.clock.advance(LEASE_MS / 1000 + 1)
    recovering.recover(core, watch)
    away = make_core("sqlite:////nowhere/at/all.db", core.settings.home, clock=world.clock)
    world.clock.advance(30)
    with pytest.raises(Unavailable):
        recovering.recover(away, watch)
    assert recovering.recover(core, watch) == 0, "the two looks begin anew"


def test_a_server_that_takes_no_changes_makes_no_lease_expire(
    postgres_world: World, postgres_server: servers.Postgres, tmp_path: Path
) -> None:
    """A fail-over: the leases can be read, and nobody can renew them."""
    world, watch = postgres_world, LeaseWatch()
    world.pod()
    run = world.with_effects()
    name = sa.make_url(world.url).database
    with contextlib.closing(Database(world.url, clock=world.clock.now_ms)) as database:
        core = dataclasses.replace(make_core(world.url, tmp_path, clock=world.clock), database=database)
        postgres_server.run(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        try:
            for _ in range(40):
                world.clock.advance(2)
                with pytest.raises(Unavailable):
                    recovering.recover(core, watch)
        finally:
            postgres_server.run(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        assert recovering.recover(core, watch) == 0
        assert world.run(run.id).status is S.APPLYING
        world.clock.advance(core.settings.lease_confirm)
        assert recovering.recover(core, watch) == 1, "its owner had time to renew, and did not"


def test_a_silent_agent_loses_what_waits_in_its_slots(world: World, core: Core) -> None:
    world.pod(slots_of_pod=5)
    reserved = world.at(S.APPLY_PENDING, workspace="a", slot_id=1)
    queued = world.at(S.APPLY_QUEUED, workspace="b", slot_id=2)
    planning = world.at(S.PLANNING, workspace="c", slot_id=3)
    applying = world.with_effects(workspace="d", slot_id=4)
    world.clock.advance(SILENCE)
    assert recovering.check_agents(core) == 2
    world.check()
    assert [world.run(run.id).status for run in (reserved, queued, planning, applying)] == [
        S.APPLY_PENDING,
        S.CONFIRMED,
        S.PLANNING,
        S.APPLYING,
    ]
    assert world.run(reserved.id).prepared_pod_name is None
    assert {world.slot(number).closed for number in range(1, 6)} == {Closed.OFFLINE}
    assert recovering.check_agents(core) == 0
    assert not world.database.read(pods.is_registered, "pod1", "pod1-boot1")


def test_an_agent_that_beats_keeps_everything(world: World, core: Core) -> None:
    world.pod()
    world.at(S.APPLY_PENDING)
    for _ in range(5):
        world.clock.advance(20)
        world.do(pods.beat, "pod1", "pod1-boot1")
        assert recovering.check_agents(core) == 0


def test_a_slot_that_does_not_claim_is_closed_and_asked(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.PLAN_QUEUED)
    world.clock.advance(60)
    world.do(pods.beat, "pod1", "pod1-boot1")
    assert recovering.check_agents(core) == 1
    back = world.run(run.id)
    assert (back.status, back.tries, back.attempt) == (S.PENDING, 0, run.attempt + 1)
    assert world.slot(1).closed is Closed.NOT_ANSWERING
    dispatcher = core.dispatcher
    assert isinstance(dispatcher, RecordingDispatcher)
    world.clock.advance(30)
    world.do(pods.beat, "pod1", "pod1-boot1")
    recovering.check_agents(core)
    assert Rung(queue="pod1.1", task=ANSWER) in dispatcher.rung
    assert world.do(slots.open_again, world.place())
    world.check()


@pytest.mark.parametrize(("status", "back"), [(S.PLAN_QUEUED, S.PENDING), (S.APPLY_QUEUED, S.CONFIRMED)])
def test_what_is_queued_for_a_slot_that_is_gone_is_taken_back(
    world: World, core: Core, status: Status, back: Status
) -> None:
    world.pod()
    run = world.at(status)
    world.do(lambda tx: tx.execute(slot_table.delete().where(slot_table.c.slot_id == 1)))
    assert recovering.check_agents(core) == 1
    assert world.run(run.id).status is back
    assert recovering.check_agents(core) == 0
    world.check()


def test_a_pod_that_registers_anew_settles_what_waited_in_it(world: World, core: Core) -> None:
    world.pod(slots_of_pod=3)
    reserved = world.at(S.APPLY_PENDING, workspace="a", slot_id=1)
    queued = world.at(S.PLAN_QUEUED, workspace="b", slot_id=2)
    planning = world.at(S.PLANNING, workspace="c", slot_id=3)
    agents.register(core, Registration(pod_name="pod1", agent_id="pod1-boot2", pool="default", slots=3))
    world.check()
    assert world.run(queued.id).status is S.PENDING
    assert world.slot(1).run_id is None
    assert world.run(reserved.id).status is S.APPLY_PENDING
    assert world.slot(3).run_id == planning.id
    assert {world.slot(number).closed for number in (1, 2, 3)} == {Closed.STARTING}
    assert not world.do(slots.open_again, world.place()), "a process of the boot before opens nothing"


def test_leaving_gives_everything_that_waits_away(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    agents.drain_slot(core, world.place())
    assert world.slot(1).closed is Closed.DRAINING
    assert world.slot(1).run_id is None
    agents.leave(core, Registration(pod_name="pod1", agent_id="pod1-boot1", pool="default", slots=2))
    assert world.database.read(pods.listed) == []
    assert world.database.read(slots.listed) == []
    assert world.run(run.id).status is S.APPLY_PENDING


@pytest.mark.parametrize("why", [None, Closed.STARTING, Closed.NOT_ANSWERING, Closed.DISK_FULL])
def test_a_slot_that_leaves_is_not_opened_again(world: World, core: Core, why: Closed | None) -> None:
    """Whatever it was closed for: its process, and its pod's housekeeping, may find just then that this is over."""
    world.pod()
    place = world.place()
    if why is not None:
        world.do(slots.close, place.pod_name, place.slot_id, place.agent_id, why)
    agents.drain_slot(core, place)
    assert not world.do(slots.open_again, place)
    assert not world.do(slots.open_closed, place.pod_name, place.agent_id, Closed.DISK_FULL)
    assert world.slot(1).closed is Closed.DRAINING


def test_a_pod_with_an_interrupted_apply_is_not_forgotten(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_INTERRUPTED)
    agents.leave(core, Registration(pod_name="pod1", agent_id="pod1-boot1", pool="default", slots=2))
    assert world.slot(1).run_id == run.id
    world.check()


def test_plans_expire_and_reservations_end(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    world.set_run(run.id, expires_ms=world.clock.now_ms() + 10 * 86_400_000)
    assert recovering.expire_plans(core) == 0
    world.clock.advance(core.settings.reserve_for)
    assert recovering.expire_plans(core) == 1
    assert world.run(run.id).status is S.APPLY_PENDING
    assert world.slot(1).run_id is None
    world.clock.advance(10 * 86_400)
    assert recovering.expire_plans(core) == 1
    assert world.run(run.id).status is S.DISCARDED
    world.check()


def test_a_confirmed_run_never_expires(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.CONFIRMED)
    world.clock.advance(EXPIRES_MS)
    recovering.expire_plans(core)
    assert world.run(run.id).status is S.CONFIRMED


def test_slot_rows_follow_run_rows(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.PLAN_QUEUED)
    world.set_run(run.id, status=S.FAILED)
    world.do(lambda tx: tx.execute(sa.text("DELETE FROM iacq_outbox")))
    assert recovering.recover(core, LeaseWatch()) == 1
    assert world.slot(1).run_id is None


def test_every_change_is_kept_with_its_cause(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_INTERRUPTED, run_type=RunType.DESTROY)
    events = world.database.read(runs.events_of, run.id)
    ways = [(event.source, event.cause, event.target) for event in events]
    assert ways[0] == (None, transitions.Cause.ENQUEUED, S.PENDING)
    assert all(transitions.is_allowed(source, cause, target) for source, cause, target in ways[1:] if source)
    assert [event.target for event in events][-1] is S.APPLY_INTERRUPTED
    assert all(before.at <= after.at for before, after in itertools.pairwise(events))
