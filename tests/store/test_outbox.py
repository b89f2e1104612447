from iacq.domain.run import Status
from iacq.services import dispatching
from iacq.services.core import Core
from iacq.store import outbox
from iacq.testing.dispatcher import RecordingDispatcher
from tests.store.world import World, at_once


def test_a_bell_is_rung_again_ever_more_slowly(world: World) -> None:
    world.pod()
    run = world.at(Status.PLAN_QUEUED)
    waits, passed = [], 0
    while len(waits) < 6:
        world.clock.advance(1)
        passed += 1
        bells = world.do(outbox.take_due)
        if bells:
            assert [(bell.run_id, bell.attempt, bell.queue) for bell in bells] == [(run.id, run.attempt, "pod1.1")]
            waits.append(passed)
            passed = 0
    assert waits == [15, 30, 60, 120, 120, 120]


def test_the_claim_takes_the_bell_away(world: World) -> None:
    world.pod()
    world.claimed(world.at(Status.PLAN_QUEUED))
    world.clock.advance(3600)
    assert world.do(outbox.take_due) == []


def test_a_new_attempt_replaces_the_bell(world: World) -> None:
    from iacq.store.protocol import waiting

    world.pod()
    run = world.at(Status.PLAN_QUEUED)
    back = world.do(waiting.take_back, run)
    world.do(waiting.dispatch, back, world.slot(2))
    world.clock.advance(15)
    (bell,) = world.do(outbox.take_due)
    assert (bell.attempt, bell.queue) == (run.attempt + 2, "pod1.2")


def test_two_control_workers_ring_once(world: World) -> None:
    world.pod()
    for slot_id in (1, 2):
        world.at(Status.PLAN_QUEUED, workspace=f"w{slot_id}", slot_id=slot_id)
    world.clock.advance(15)
    results = at_once(*[lambda: world.do(outbox.take_due)] * 4)
    assert sorted(bell.run_id for bells in results for bell in bells) == sorted(
        {bell.run_id for bells in results for bell in bells}
    )
    assert sum(map(len, results)) == 2


def test_while_the_broker_is_away_bells_wait(world: World, core: Core) -> None:
    world.pod()
    dispatcher = core.dispatcher
    assert isinstance(dispatcher, RecordingDispatcher)
    dispatcher.away = True
    world.enqueue()
    assert dispatching.dispatch(core) == 1
    world.clock.advance(15)
    assert dispatching.resend(core) == 0
    dispatcher.away = False
    world.clock.advance(15)
    assert dispatching.resend(core) == 0, "its turn comes after 30 s"
    world.clock.advance(15)
    assert dispatching.resend(core) == 1
    assert len(dispatcher.bells) == 1
