"""What people and services may say about a run, and each answer."""

from collections.abc import Callable
from typing import Any

import pytest

from iacq.domain import transitions
from iacq.domain.pool import PoolPolicy
from iacq.domain.run import RunType, Status
from iacq.errors import Conflict, InvalidInput, NotFound
from iacq.messages import SIGNAL_RUN
from iacq.services import confirming
from iacq.services.core import Core
from iacq.store import pools, workspaces
from iacq.store.protocol import owning
from iacq.testing.dispatcher import RecordingDispatcher
from tests import samples
from tests.store.world import EXPIRES_MS, World, plan_result

S = Status
HASH = samples.HASH


def rung(core: Core) -> list[tuple[str, str]]:
    assert isinstance(core.dispatcher, RecordingDispatcher)
    return [(bell.queue, bell.task) for bell in core.dispatcher.rung]


def confirm(core: Core, run_id: int, plan_hash: str = HASH, by: str = "bob") -> Any:
    return confirming.confirm(core, run_id, plan_hash=plan_hash, by=by, comment="go")


def test_confirm_rings_the_slot(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    confirmed = confirm(core, run.id)
    assert confirmed.status is S.APPLY_QUEUED
    assert rung(core) == [("pod1.1", "iacq.apply")]


@pytest.mark.parametrize("seen", [HASH[:12], HASH[:40], f"  {HASH.upper()}\n"])
def test_a_prefix_of_twelve_is_enough(world: World, core: Core, seen: str) -> None:
    world.pod()
    assert confirm(core, world.at(S.APPLY_PENDING).id, seen).confirmed_hash == HASH


@pytest.mark.parametrize("seen", ["", HASH[:11], HASH + "0", "xyz" * 10])
def test_what_is_no_hash_is_refused(world: World, core: Core, seen: str) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    with pytest.raises(InvalidInput) as caught:
        confirm(core, run.id, seen)
    assert caught.value.field == "--plan-hash"
    assert world.run(run.id) == run


def test_another_hash_is_a_conflict_before_and_after(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    for _ in range(2):
        with pytest.raises(Conflict, match=HASH[:12]):
            confirm(core, run.id, "cd" * 32)
        confirm(core, run.id)


def test_a_repeat_gets_the_first_answer_also_after_the_end(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    first = confirm(core, run.id)
    world.clock.advance(5)
    again = confirm(core, run.id, by="eve")
    assert (again.confirmed_by, again.confirmed_at) == ("bob", first.confirmed_at)
    applying = world.claimed(again)
    world.do(owning.finish_apply, world.hold(applying), S.APPLIED)
    assert confirm(core, run.id, by="eve").status is S.APPLIED


@pytest.mark.parametrize("status", [S.PENDING, S.PLAN_QUEUED, S.PLANNING])
def test_before_there_is_a_plan_it_is_a_conflict(world: World, core: Core, status: Status) -> None:
    world.pod()
    with pytest.raises(Conflict, match=status):
        confirm(core, world.at(status).id)


@pytest.mark.parametrize("end", [S.SUCCESS, S.PLANNED_AND_FINISHED, S.FAILED])
def test_what_was_never_pending_is_a_conflict(world: World, core: Core, end: Status) -> None:
    world.pod()
    run = world.at(S.PLANNING)
    world.do(owning.finish_plan, world.hold(run), world.place(), plan_result(end))
    with pytest.raises(Conflict, match=end):
        confirm(core, run.id)


def test_an_expired_plan_is_discarded_at_once(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    world.clock.advance(EXPIRES_MS / 1000)
    with pytest.raises(Conflict, match="expired"):
        confirm(core, run.id)
    assert world.run(run.id).status is S.DISCARDED
    world.check()


def test_a_locked_workspace_stores_the_confirmation(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    world.do(workspaces.lock, "network", by="eve", reason="x")
    assert confirm(core, run.id).status is S.CONFIRMED
    assert rung(core) == [("iacq.control", "iacq.dispatch")]


@pytest.mark.parametrize(
    "say",
    [
        lambda core: confirm(core, 10**6),
        lambda core: confirming.discard(core, 10**6, by="bob"),
        lambda core: confirming.cancel(core, 10**6, by="bob"),
        lambda core: confirming.resolve(core, 10**6, applied=True, by="bob", comment="x"),
    ],
)
def test_no_such_run(core: Core, say: Callable[[Core], Any]) -> None:
    with pytest.raises(NotFound, match="1000000"):
        say(core)


def test_a_row_of_somebody_else_is_no_run(world: World, core: Core) -> None:
    for row in world.foreign:
        with pytest.raises(NotFound):
            confirm(core, row[0])
        with pytest.raises(NotFound):
            confirming.cancel(core, row[0], by="bob", force=True)


def test_discard_may_be_repeated(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    assert confirming.discard(core, run.id, by="bob").status is S.DISCARDED
    assert confirming.discard(core, run.id, by="bob").status is S.DISCARDED
    with pytest.raises(Conflict, match="discarded"):
        confirm(core, run.id)


@pytest.mark.parametrize("status", [S.PENDING, S.PLANNING, S.CONFIRMED, S.APPLYING, S.APPLY_INTERRUPTED])
def test_only_a_waiting_plan_is_discarded(world: World, core: Core, status: Status) -> None:
    world.pod()
    run = world.at(status)
    with pytest.raises(Conflict, match=status):
        confirming.discard(core, run.id, by="bob")
    assert world.run(run.id) == run


@pytest.mark.parametrize("status", sorted(transitions.CANCELLED_AT_ONCE))
def test_what_waits_is_cancelled_at_once(world: World, core: Core, status: Status) -> None:
    world.pod()
    run = world.at(status)
    assert confirming.cancel(core, run.id, by="bob").status is S.CANCELLED
    world.check()
    with pytest.raises(Conflict, match="ended already"):
        confirming.cancel(core, run.id, by="bob")


@pytest.mark.parametrize("status", [S.PLANNING, S.APPLYING])
def test_what_runs_is_asked_and_its_pod_is_woken(world: World, core: Core, status: Status) -> None:
    world.pod()
    run = world.at(status)
    for _ in range(2):
        asked = confirming.cancel(core, run.id, by="bob")
        assert (asked.status, asked.cancel_requested_by) == (status, "bob")
    assert rung(core) == [("pod1.agent", SIGNAL_RUN)] * 2


def test_after_effects_a_cancel_needs_force_once(world: World, core: Core) -> None:
    world.pod()
    run = world.with_effects()
    with pytest.raises(Conflict) as caught:
        confirming.cancel(core, run.id, by="bob")
    assert caught.value.code == "needs_force"
    assert world.run(run.id) == run
    confirming.cancel(core, run.id, by="bob", force=True)
    assert confirming.cancel(core, run.id, by="eve").cancel_requested_by == "bob", "asking again is fine"


def test_an_interrupted_run_is_resolved_and_not_cancelled(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_INTERRUPTED)
    with pytest.raises(Conflict) as caught:
        confirming.cancel(core, run.id, by="bob", force=True)
    assert "resolve" in (caught.value.hint or "")


@pytest.mark.parametrize("applied", [True, False])
def test_resolve_once_its_end_is_proven(world: World, core: Core, applied: bool) -> None:
    world.pod()
    run = world.with_effects()
    world.do(owning.interrupt, world.hold(run))
    resolved = confirming.resolve(core, run.id, applied=applied, by="bob", comment="looked")
    assert resolved.status is (S.APPLIED if applied else S.FAILED)
    world.check()
    with pytest.raises(Conflict, match="not interrupted"):
        confirming.resolve(core, run.id, applied=applied, by="bob", comment="looked")


def test_resolve_is_refused_while_its_terraform_may_live(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_INTERRUPTED)
    with pytest.raises(Conflict) as caught:
        confirming.resolve(core, run.id, applied=True, by="bob", comment="looked")
    assert caught.value.code == "end_not_proven"
    assert world.run(run.id).status is S.APPLY_INTERRUPTED
    confirming.resolve(core, run.id, applied=True, by="bob", comment="looked", force=True)
    world.check()


def test_resolve_needs_a_reason(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_INTERRUPTED)
    with pytest.raises(InvalidInput) as caught:
        confirming.resolve(core, run.id, applied=True, by="bob", comment=" ", force=True)
    assert caught.value.field == "--comment"


def test_a_speculative_plan_is_never_applied(world: World, core: Core) -> None:
    world.pod()
    world.do(pools.set_policy, "default", PoolPolicy(max_pods=1, slots_per_pod=2))
    run = world.at(S.PLANNING, run_type=RunType.PLAN)
    world.do(owning.finish_plan, world.hold(run), world.place(), plan_result(S.SUCCESS))
    with pytest.raises(Conflict, match="success"):
        confirm(core, run.id)
