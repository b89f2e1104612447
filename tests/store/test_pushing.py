"""People give a managed state; what an apply wrote last is never forgotten."""

import json

import pytest

from iacq.domain.run import Run, Status
from iacq.domain.transitions import Cause
from iacq.errors import Conflict, InvalidInput, NotFound
from iacq.services import confirming, enqueuing, evidence, retrying, state_changes, state_unlocking, states
from iacq.services.core import Core, load_artifact
from iacq.services.enqueuing import Inputs
from iacq.services.state_unlocking import Unlock
from iacq.store import states as rows
from iacq.store.protocol import recovering, restoring
from iacq.store.states import Push, StateVersion
from tests.store.test_states import add, state
from tests.store.world import World


def tfstate(serial: int, lineage: str = "a", **more: object) -> bytes:
    return json.dumps({"version": 4, "serial": serial, "lineage": lineage, **more}).encode()


def push(core: Core, data: bytes, *, force: bool = False, reason: str | None = None) -> StateVersion:
    return state_changes.push(core, "network", data, Push(by="alice", reason=reason, force=force))


def interrupted(world: World, *, managed: bool = True) -> Run:
    world.pod()
    run = world.with_effects()
    world.set_run(run.id, fingerprint={"state": {"lineage": None, "serial": None} if managed else None})
    return run


def test_a_pushed_state_follows_the_newest_and_says_by_whom(world: World, core: Core) -> None:
    world.workspace()
    first = push(core, tfstate(3))
    second = push(core, tfstate(4), reason="repaired by hand")
    assert [(one.version, one.serial, one.run_id) for one in (first, second)] == [(1, 3, None), (2, 4, None)]
    assert (second.pushed_by, second.reason) == ("alice", "repaired by hand")
    assert states.pull(core, "network") == tfstate(4)
    assert push(core, tfstate(4)) == second, "the same state again is no change"


@pytest.mark.parametrize("data", [tfstate(3), tfstate(4, outputs={}), tfstate(9, "b")])
def test_what_does_not_follow_needs_force_and_a_reason(world: World, core: Core, data: bytes) -> None:
    world.workspace()
    push(core, tfstate(4))
    with pytest.raises(Conflict) as refused:
        push(core, data)
    assert refused.value.code == "state_conflict"
    assert "--force" in (refused.value.hint or "")
    with pytest.raises(InvalidInput) as unexplained:
        push(core, data, force=True, reason=" ")
    assert unexplained.value.field == "--reason"
    forced = push(core, data, force=True, reason="rolled back")
    assert (forced.version, forced.reason) == (2, "rolled back")
    assert states.pull(core, "network") == data


@pytest.mark.parametrize("data", [b"", b"{}", b"not json", tfstate(1, "")])
def test_what_is_no_state_is_refused(world: World, core: Core, data: bytes) -> None:
    world.workspace()
    with pytest.raises(InvalidInput) as refused:
        push(core, data, force=True, reason="why not")
    assert refused.value.code == "bad_state"
    assert world.database.read(rows.current, "network") is None


@pytest.mark.parametrize(
    "status", [Status.PLAN_QUEUED, Status.PLANNING, Status.APPLY_PENDING, Status.APPLYING, Status.APPLY_INTERRUPTED]
)
def test_nobody_pushes_while_a_run_changes_the_workspace(world: World, core: Core, status: Status) -> None:
    world.pod()
    run = world.at(status)
    with pytest.raises(Conflict, match=f"run {run.id} holds the state") as refused:
        push(core, tfstate(1), force=True, reason="I know better")
    assert refused.value.code == "state_held"
    assert str(run.id) in (refused.value.hint or "")
    assert world.database.read(rows.current, "network") is None


def test_a_workspace_that_does_not_exist(world: World, core: Core) -> None:
    with pytest.raises(NotFound):
        push(core, tfstate(1))
    with pytest.raises(NotFound):
        state_unlocking.unlock(core, "network", Unlock(lock_id=None, force=False, reason=None, by="alice"))


def test_a_resolved_run_leaves_the_state_that_it_wrote_last(world: World) -> None:
    """docs/failures.md 29: else the next plan would make once more what exists."""
    run = interrupted(world)
    add(world, state(4))
    fences = {"fence": run.fence, "effects_fence": run.effects_fence}
    world.do(states.save_working, "network", state(6), run_id=run.id, **fences)
    lost = world.interrupted(run)
    assert world.database.read(rows.current, "network").serial == 4  # type: ignore[union-attr]
    world.do(recovering.resolve, lost, Status.FAILED, by="eve", comment="half of it", force=True)
    kept = world.database.read(rows.current, "network")
    assert kept is not None
    assert (kept.version, kept.serial, kept.resources, kept.run_id) == (2, 6, 2, run.id)
    assert world.database.read(rows.sealed, "network", 2) == b"a-6"
    assert world.database.read(rows.working, "network") is None


def test_a_managed_state_needs_no_unlocking(world: World, core: Core) -> None:
    world.workspace()
    asked = Unlock(lock_id="1", force=True, reason="sure", by="alice")
    assert state_unlocking.unlock(core, "network", asked) is None
    world.pod()
    run = interrupted(world)
    with pytest.raises(Conflict, match="holds the state"):
        state_unlocking.unlock(core, "network", asked)
    lost = world.interrupted(run)
    with pytest.raises(Conflict) as refused:
        state_unlocking.unlock(core, "network", asked)
    assert f"iacq run resolve {lost.id}" in (refused.value.hint or "")


def test_a_lock_that_says_when_it_was_taken_is_known_for_certain(world: World, core: Core) -> None:
    """docs/failures.md 32."""
    run = interrupted(world, managed=False)
    error = f"Error acquiring the state lock\nLock Info:\n  ID: 77\n  Who: ci@pod\n  Created: {utc(run.effects_at)}"
    lost = world.interrupted(run)
    told = state_unlocking.diagnose(core, "network", error, met_by=run.id + 1)
    assert told is not None
    assert (told.certain, told.dead) == (True, False)
    assert "may still be alive" in told.text

    world.do(recovering.prove_end, lost.id, run.effects_fence)
    world.do(recovering.resolve, lost, Status.FAILED, by="eve", comment="half of it", force=False)
    met = world.enqueue()
    world.set_run(met.id, status=Status.FAILED, error_code="state_locked", error_text=error, completed_ms=1)
    told = state_unlocking.diagnose(core, "network", error, met_by=met.id)
    assert told is not None
    assert f"left behind by the apply of run {run.id}" in told.text
    removing = state_unlocking.unlock(core, "network", Unlock(lock_id=None, force=False, reason=None, by="alice"))
    assert removing is not None
    assert (removing.status, removing.priority, removing.auto_apply) == (Status.PENDING, 100, False)
    assert asked_of(core, removing) == "77"
    confirming.cancel(core, removing.id, by="alice")
    again = retrying.retry(core, removing.id, by="alice")
    assert asked_of(core, again) is None, "by now that lock could be somebody else's"


def asked_of(core: Core, run: Run) -> str | None:
    inputs = Inputs.from_json(load_artifact(core, run.workspace, run.id, enqueuing.INPUTS))
    return inputs.options.unlock


def test_after_a_restore_nothing_is_proven(world: World, core: Core) -> None:
    run = interrupted(world)
    world.do(restoring.restore, run, by="eve")
    world.do(restoring.forget_the_fleet)
    found = evidence.gather(core, world.run(run.id))
    assert found is not None
    assert (found.cause, found.end_proven, found.lease_until) == (Cause.RESTORED, False, None)


def utc(ms: int | None) -> str:
    import datetime as dt

    moment = dt.datetime.fromtimestamp((ms or 0) / 1000 + 1, dt.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f000 +0000 UTC")
