from iacq.domain import tally
from iacq.domain.run import RunType, StartTier, Status
from iacq.services import tallying
from iacq.services.core import Core
from iacq.store import control, runs, totals
from iacq.store.protocol import owning
from tests.store.world import World, at_once

TIMINGS = {"plan": {"init": 200}, "apply": {"terraform": 4000}}


def _finish(world: World, *, workspace: str = "network", slot_id: int = 1) -> None:
    applying = world.with_effects(workspace=workspace, slot_id=slot_id)
    world.do(owning.finish_apply, world.hold(applying), Status.APPLIED, timings=TIMINGS)


def _ended(world: World) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = world.do(totals.read, tally.ENDED)
    return found


def _steps(world: World) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = world.do(totals.read, tally.STEPS)
    return {labels: value for labels, value in found.items() if labels[-1] != tally.SUM}


def test_every_run_is_counted_once(world: World, core: Core) -> None:
    """docs/failures.md 38: totals have no series of a workspace, a run or a pod."""
    world.pod()
    _finish(world)
    _finish(world)
    assert tallying.tally(core) == 2
    assert tallying.tally(core) == 0
    assert _ended(world) == {("default", "plan_and_apply", "applied"): 2}
    assert world.do(totals.read, tally.STARTS) == {("default", StartTier.HOT): 2}
    assert _steps(world) == {("default", "plan", "init", "0.25"): 2, ("default", "apply", "terraform", "5"): 2}


def test_a_plan_is_counted_before_anybody_confirms_it(world: World, core: Core) -> None:
    world.pod()
    pending = world.at(Status.APPLY_PENDING)
    world.do(runs.change, pending.id, {}, timings={"plan": {"init": 200}})
    assert tallying.tally(core) == 1
    assert _steps(world) == {("default", "plan", "init", "0.25"): 1}
    assert _ended(world) == {}
    world.at(Status.PLANNING, workspace="other", slot_id=2)
    assert tallying.tally(core) == 0, "its plan is not over"
    world.do(runs.change, pending.id, {"tallied": 1}, priority=1)


def test_runs_that_never_got_a_slot_are_counted(world: World, core: Core) -> None:
    from iacq.store.protocol import waiting

    run = world.enqueue(run_type=RunType.DRIFT)
    world.do(waiting.cancel, run, by="bob")
    assert tallying.tally(core) == 1
    assert _ended(world) == {("default", "drift", "cancelled"): 1}


def test_several_who_count_at_once_count_each_run_once(world: World) -> None:
    world.pod()
    for number in range(12):
        _finish(world, workspace=f"w{number}")

    def fill() -> int:
        counted = 0
        for _ in range(200):
            found = world.database.attempt(totals.fill, limit=2)
            counted += found or 0
            if found == 0:
                break
        return counted

    assert sum(at_once(*[fill] * 4)) == 12
    assert _ended(world) == {("default", "plan_and_apply", "applied"): 12}


def test_counting_does_not_wait_for_whoever_works_on_a_run(postgres_world: World) -> None:
    world = postgres_world
    world.pod()
    pending = world.at(Status.APPLY_PENDING)
    with world.database.transaction() as busy:
        runs.change(busy, pending.id, {}, priority=1)
        assert world.do(totals.fill, limit=10) == 0
    assert world.do(totals.fill, limit=10) == 1


def test_beats_tick_is_noted(world: World, core: Core) -> None:
    assert world.do(control.silences) == (None, None)
    tallying.tally(core)
    world.clock.advance(7)
    world.do(control.beat)
    world.clock.advance(2)
    assert world.do(control.silences) == (2000, 9000)
