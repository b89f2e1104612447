"""Each step of the protocol goes its way when all is as it was seen, and each single thing that must stop it does."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from iacq.domain.run import Status
from iacq.domain.slot import Closed
from iacq.domain.transitions import Cause
from iacq.store import runs, slots, workspaces
from iacq.store.protocol import owning, recovering, waiting
from iacq.store.session import Raced, Transaction
from tests.store.protocol_steps import CHANGED, FREE, FROZEN, STEPS, asked_to_stop, cancelling
from tests.store.world import LEASE_MS, World, plan_result

S = Status
UNUSABLE = ("slot closed", "slot draining", "slot free", "slot of another pool")


def is_refused(do: Callable[[Transaction], Any], tx: Transaction) -> bool:
    try:
        do(tx)
    except (Raced, IntegrityError):
        return True
    return False


@pytest.mark.parametrize("name", STEPS)
def test_the_way(world: World, name: str) -> None:
    world.pod()
    step = STEPS[name]
    run = step.begin(world)
    world.check()
    assert world.database.attempt(step.do(world, run)) is not None
    after = world.run(run.id)
    assert after.status is step.end
    assert world.slot().status is step.slot
    assert (world.slot().run_id == run.id) is (step.slot is not FREE)
    world.check()


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if step.stopped_by])
def test_what_stops_it(world: World, name: str) -> None:
    world.pod()
    step = STEPS[name]
    run = step.begin(world)
    do = step.do(world, run)
    for what in step.stopped_by:
        with world.database.transaction() as tx:
            CHANGED[what](tx, run, world.clock.now_ms())
            assert is_refused(do, tx), what
            tx.connection.rollback()
    assert world.database.attempt(do) is not None, "none of it stopped for another reason"


@pytest.mark.parametrize("changed", [*UNUSABLE, "locked workspace", *FROZEN])
def test_a_confirmation_is_stored_even_if_the_apply_cannot_start_now(world: World, changed: str) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    world.do(CHANGED[changed], run, world.clock.now_ms())
    confirmed = world.database.attempt(waiting.confirm, run, by="bob", comment="go")
    assert confirmed is not None
    after, bell = confirmed
    assert (after.status, bell) == (S.CONFIRMED, None)
    assert (after.confirmed_by, after.confirmed_comment, after.confirmed_hash) == ("bob", "go", run.plan_hash)
    world.check()


@pytest.mark.parametrize("status", [S.PLANNING, S.APPLYING])
def test_tries_are_bounded(world: World, status: Status) -> None:
    world.pod()
    run = world.at(status)
    claims = 1
    while run.status is status:
        run = world.database.run(recovering.owner_gone, run.id, run.fence, world.place())
        if run.status in (S.PENDING, S.CONFIRMED):
            if run.status is S.PENDING:
                world.do(waiting.dispatch, run, world.slot())
            else:
                world.do(waiting.dispatch_to_own_slot, run)
            run = world.claimed(world.run(run.id))
            claims += 1
        world.check()
    assert run.status is S.FAILED
    assert run.error_code == "tries_used_up"
    assert claims == {S.PLANNING: 3, S.APPLYING: 5}[status]
    assert run.tries == claims


def test_a_pod_that_stops_gives_its_try_back(world: World) -> None:
    world.pod()
    run = world.at(S.PLANNING)
    for _ in range(6):
        back = world.do(owning.give_back, world.hold(run), Cause.STOPPED, counted=False)
        assert (back.status, back.tries) == (S.PENDING, 0)
        world.do(waiting.dispatch, back, world.slot())
        run = world.claimed(world.run(run.id))
        assert run.tries == 1


@pytest.mark.parametrize("name", ["give back a plan", "give back an apply", "not started", "owner of a plan gone"])
def test_every_way_back_obeys_a_cancel(world: World, name: str) -> None:
    world.pod()
    step = STEPS[name]
    run = cancelling(world, step.begin(world))
    assert world.database.attempt(step.do(world, run)) is not None
    assert world.run(run.id).status is S.CANCELLED
    assert world.slot().status is FREE
    world.check()


def test_a_finished_plan_obeys_a_cancel_before_auto_apply(world: World) -> None:
    world.pod()
    run = cancelling(world, world.at(S.PLANNING, auto_apply=True))
    finished, bell = world.do(owning.finish_plan, world.hold(run), world.place(), plan_result())
    assert (finished.status, bell) == (S.CANCELLED, None)
    assert finished.confirmed_at is None
    world.check()


def test_auto_apply_passes_through_every_state(world: World) -> None:
    world.pod()
    run = world.at(S.PLANNING, auto_apply=True)
    finished, bell = world.do(owning.finish_plan, world.hold(run), world.place(), plan_result())
    assert finished.status is S.APPLY_QUEUED
    assert (bell.attempt, bell.queue) == (finished.attempt, "pod1.1")
    events = world.database.read(runs.events_of, run.id)
    assert [event.target for event in events][-3:] == [S.APPLY_PENDING, S.CONFIRMED, S.APPLY_QUEUED]
    assert Cause.AUTO_APPLIED in [event.cause for event in events]
    world.check()


def test_a_plan_that_ends_in_a_closed_slot_leaves_no_reservation(world: World) -> None:
    world.pod()
    run = world.at(S.PLANNING)
    world.set_slot(1, closed=Closed.DRAINING)
    finished = world.planned(run)
    assert finished.status is S.APPLY_PENDING
    assert finished.prepared_pod_name is None
    assert world.slot().status is FREE
    world.check()


def test_a_plan_that_ends_in_a_frozen_pool_leaves_no_reservation(world: World) -> None:
    world.pod()
    run = world.at(S.PLANNING, auto_apply=True)
    world.do(CHANGED["frozen pool"], run, world.clock.now_ms())
    finished = world.planned(run)
    assert (finished.status, finished.prepared_pod_name) == (S.CONFIRMED, None)
    assert world.slot().status is FREE
    world.check()


def test_a_window_that_begins_later_stops_nothing(world: World) -> None:
    world.pod()
    world.do(CHANGED["window that begins later"], world.enqueue(), world.clock.now_ms())
    assert world.at(S.APPLYING).status is S.APPLYING


def test_a_new_claim_was_asked_for_nothing(world: World) -> None:
    world.pod()
    run = asked_to_stop(world, world.at(S.PLANNING))
    back = world.do(owning.give_back, world.hold(run), Cause.FROZEN, counted=False)
    assert back.tries == 0
    world.do(waiting.dispatch, back, world.slot())
    run = world.claimed(world.run(run.id))
    assert (run.freeze_requested_at, run.tries) == (None, 1)


def test_an_apply_elsewhere_releases_its_own_slot(world: World) -> None:
    world.pod()
    run = world.at(S.CONFIRMED)
    assert run.prepared_slot_id == 1
    world.do(waiting.dispatch, run, world.slot(2))
    assert (world.slot(1).run_id, world.slot(2).run_id) == (None, run.id)
    assert world.run(run.id).prepared_slot_id is None
    world.check()


def test_plans_are_dispatched_in_a_locked_workspace(world: World) -> None:
    from iacq.domain.run import RunType

    world.pod()
    run = world.enqueue(run_type=RunType.PLAN)
    world.do(workspaces.lock, "network", by="eve", reason="x")
    assert world.database.attempt(waiting.dispatch, run, world.slot()) is not None


def test_force_cancels_after_effects(world: World) -> None:
    world.pod()
    run = world.with_effects()
    asked = world.do(waiting.request_cancel, run, by="bob", force=True)
    assert asked.cancel_requested_by == "bob"
    again = world.do(waiting.request_cancel, run, by="eve", force=True)
    assert again.cancel_requested_by == "bob", "the first one is kept"
    assert world.do(owning.renew, world.hold(run), lease_ms=LEASE_MS, stage="init").cancel_requested_at is not None


def test_only_a_closed_slot_that_answers_opens(world: World) -> None:
    world.pod()
    for why, opens in ((Closed.STARTING, True), (Closed.NOT_ANSWERING, True), (Closed.DRAINING, False)):
        world.set_slot(1, closed=why)
        assert world.do(slots.open_again, world.place(agent_id="pod1-boot0")) is False
        assert world.do(slots.open_again, world.place()) is opens
    world.set_slot(1, closed=Closed.OFFLINE)
    assert world.do(slots.open_again, world.place()) is False, "it opens when the agent registers anew"
