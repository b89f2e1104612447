"""The database is a backup: whatever happened since then, and whoever still knows of it, nothing starts again."""

import dataclasses
from typing import Any

import pytest

from iacq.domain import transitions
from iacq.domain.run import Phase, Run, RunType, Status
from iacq.errors import Conflict
from iacq.services import agents, confirming, dispatching, restoring
from iacq.services.core import Core
from iacq.store import control, outbox, pods, runs, slots, states, workspaces
from iacq.store.pods import Registration
from iacq.store.protocol import owning, recovering, waiting
from iacq.store.protocol.restoring import STEP
from iacq.store.session import Raced
from iacq.store.states import NewState
from tests.store.world import AGENT, LEASE_MS, POD, World

S = Status
SILENCE = 31
UNENDED = sorted(set(Status) - transitions.ENDED)
AFTER = {
    S.PENDING: S.PENDING,
    S.PLAN_QUEUED: S.PENDING,
    S.PLANNING: S.PENDING,
    S.APPLY_PENDING: S.DISCARDED,
    S.CONFIRMED: S.APPLY_INTERRUPTED,
    S.APPLY_QUEUED: S.APPLY_INTERRUPTED,
    S.APPLYING: S.APPLY_INTERRUPTED,
    S.APPLY_INTERRUPTED: S.APPLY_INTERRUPTED,
}


def restored(world: World, core: Core, **options: Any) -> restoring.Restored:
    world.clock.advance(SILENCE)
    return restoring.settle(core, by="eve", **options)


@pytest.mark.parametrize("status", UNENDED)
def test_each_state(world: World, core: Core, status: Status) -> None:
    world.pod()
    before = world.at(status)
    before = world.run(before.id)
    done = restored(world, core)
    assert done.runs == ((before, world.run(before.id)),)
    after = world.run(before.id)
    assert after.status is AFTER[status]
    assert (after.fence, after.attempt) == (before.fence + STEP, before.attempt + STEP)
    assert (after.owner, after.lease_until, after.queue, after.prepared_pod_name) == (None, None, None, None)
    event = world.database.read(runs.events_of, before.id)[-1]
    assert (event.source, event.target, event.cause, event.by) == (status, after.status, "restored", "eve")
    assert world.database.read(slots.listed) == []
    assert world.database.read(pods.listed) == []
    world.clock.advance(86_400)
    assert world.do(outbox.take_due) == []
    world.check()


@pytest.mark.parametrize("status", [S.CONFIRMED, S.APPLY_QUEUED, S.APPLYING, S.APPLY_INTERRUPTED])
def test_what_may_have_been_applied_is_for_a_person(world: World, core: Core, status: Status) -> None:
    """Nothing dispatches, claims, adopts or settles it by what is left of before, and its workspace waits."""
    world.pod()
    before = world.run(world.at(status).id)
    next_one = world.enqueue()
    restored(world, core)
    world.pod(agent_id="pod1-boot2")
    assert dispatching.dispatch(core) == 0
    place = dataclasses.replace(world.place(), agent_id="pod1-boot2")
    for fence in range(before.fence + 3):
        for step in (recovering.never_started, recovering.prove_end):
            with pytest.raises(Raced):
                world.do(step, before.id, fence)
        with pytest.raises(Raced):
            world.do(recovering.adopt, before.id, fence, place, lease_ms=LEASE_MS)
        with pytest.raises(Raced):
            world.do(recovering.late_report, before.id, fence, S.APPLIED)
        with pytest.raises(Raced):
            world.do(runs.require_writer, before.id, fence, fence)
    for attempt in range(before.attempt + 3):
        with pytest.raises(Raced):
            world.do(owning.claim, before.id, Phase.APPLY, attempt, place, lease_ms=LEASE_MS)
    confirming.resolve(core, before.id, applied=True, by="eve", comment="all is there")
    assert dispatching.dispatch(core) == 1
    assert world.run(next_one.id).status is S.PLAN_QUEUED
    world.check()


def test_a_plan_that_waited_is_not_confirmed_again(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    restored(world, core)
    with pytest.raises(Conflict):
        confirming.confirm(core, run.id, plan_hash=run.plan_hash or "", by="bob")
    with pytest.raises(Raced):
        world.do(waiting.confirm, run, by="bob", comment=None)


@pytest.mark.parametrize("status", [S.PENDING, S.PLAN_QUEUED, S.PLANNING])
def test_what_was_not_planned_is_planned_anew_and_read_by_a_person(world: World, core: Core, status: Status) -> None:
    world.pod()
    old = world.run(world.at(status, auto_apply=True).id)
    restored(world, core)
    assert not world.run(old.id).auto_apply
    if status is S.PLANNING:
        with pytest.raises(Raced):
            world.do(owning.renew, world.hold(old), lease_ms=LEASE_MS, stage="init")
    world.pod(agent_id="pod1-boot2")
    assert dispatching.dispatch(core) == 1
    queued = world.run(old.id)
    place = dataclasses.replace(world.place(), agent_id="pod1-boot2")
    for attempt in range(5):
        with pytest.raises(Raced):
            world.do(owning.claim, old.id, Phase.PLAN, attempt, place, lease_ms=LEASE_MS)
    claimed: Run = world.do(owning.claim, old.id, Phase.PLAN, queued.attempt, place, lease_ms=LEASE_MS)
    assert (claimed.fence, claimed.tries) == (old.fence + STEP + 1, 1)
    assert world.planned(claimed).status is S.APPLY_PENDING


def test_a_plan_that_somebody_had_asked_to_cancel(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.PLANNING)
    world.do(waiting.request_cancel, run, by="bob", force=False)
    restored(world, core)
    assert world.run(run.id).status is S.CANCELLED
    world.check()


def test_plans_that_change_nothing_and_ended_runs_go_on(world: World, core: Core) -> None:
    world.pod()
    look = world.at(S.PLANNING, run_type=RunType.PLAN)
    ended = world.enqueue("other")
    world.do(waiting.cancel, ended, by="bob")
    ended = world.run(ended.id)
    done = restored(world, core)
    assert [before.id for before, _ in done.runs] == [look.id]
    assert world.run(look.id).status is S.PENDING
    assert world.run(ended.id) == ended


def test_new_runs_have_ids_that_none_had_after_the_backup(world: World, core: Core) -> None:
    last = world.enqueue("other").id
    done = restored(world, core)
    assert done.ids_after is not None
    assert done.ids_after >= last + STEP
    assert world.enqueue("other").id == done.ids_after + 1


def test_it_is_refused_while_the_system_runs(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.CONFIRMED)
    world.clock.advance(29)
    rows = world.rows()
    with pytest.raises(Conflict, match="pod pod1 gave a sign of life") as caught:
        restoring.settle(core, by="eve")
    assert caught.value.code == "system_running"
    assert world.rows() == rows
    restoring.settle(core, by="eve", force=True)
    assert world.run(run.id).status is S.APPLY_INTERRUPTED
    assert not world.database.read(pods.is_registered, POD, AGENT), "a living agent must register anew"
    agents.register(core, Registration(pod_name=POD, agent_id=AGENT, pool="default", slots=2))
    assert world.database.read(pods.is_registered, POD, AGENT)


def test_a_control_worker_is_part_of_the_system(world: World, core: Core) -> None:
    world.do(control.beat)
    with pytest.raises(Conflict, match="a control worker gave a sign of life"):
        restoring.settle(core, by="eve")
    world.clock.advance(SILENCE)
    restoring.settle(core, by="eve")


def test_states_are_told_and_automatic_workspaces_are_locked(world: World, core: Core) -> None:
    state = NewState(lineage="l", serial=7, sha256="ab", size=1, resources=1, sealed=b"x")
    for name, auto_apply in (("manual", False), ("auto", True), ("auto-elsewhere", True), ("locked", True)):
        world.workspace(name, auto_apply=auto_apply)
        if name != "auto-elsewhere":
            world.do(states.add, name, state, run_id=None)
            world.do(states.add, name, dataclasses.replace(state, serial=8, sha256="cd"), run_id=None)
    world.do(workspaces.lock, "locked", by="bob", reason="mine")
    done = restored(world, core)
    assert {name: (found.version, found.serial) for name, found in done.states.items()} == dict.fromkeys(
        ("auto", "locked", "manual"), (2, 8)
    )
    assert done.locked == ("auto",)
    locked = {found.name: found.locked_by for found in world.database.read(workspaces.listed)}
    assert locked == {"manual": None, "auto": "eve", "auto-elsewhere": None, "locked": "bob"}


def test_it_may_be_done_twice(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLYING)
    restored(world, core)
    done = restored(world, core)
    assert [(before.status, after.status) for before, after in done.runs] == [(S.APPLY_INTERRUPTED,) * 2]
    assert world.run(run.id).fence == run.fence + 2 * STEP
    world.check()
