"""What is kept, and for how long: docs/failures.md 33."""

import dataclasses
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from iacq.client import Client
from iacq.domain.run import Phase, Run, Status
from iacq.domain.transitions import Cause
from iacq.services import measuring, retaining, states, tallying
from iacq.services.core import Core, load_artifact, store_artifact
from iacq.services.retaining import Removed
from iacq.store import artifacts, logs, retention, runs, totals
from iacq.store import states as state_rows
from iacq.store.protocol import owning, waiting
from iacq.store.schema import metadata
from iacq.testing.storage import MemoryArtifacts
from tests.store.world import World, at_once

DAY = 86_400
KINDS = ("source", "inputs", "plan", "plan_json", "diff", "snapshot", "lock")
NOTHING = Removed()


def applied(world: World, core: Core, workspace: str = "network") -> Run:
    """A run that lost its slot once, and was applied; with all that a run has."""
    run = world.at(Status.PLAN_QUEUED, workspace=workspace)
    world.do(waiting.take_back, run)
    world.do(waiting.dispatch, world.run(run.id), world.slot(1))
    run = world.claimed(world.run(run.id))
    stored = [store_artifact(core, workspace, run.id, kind, kind.encode(), version=run.fence) for kind in KINDS]
    world.do(artifacts.record, run.id, stored)
    store_artifact(core, workspace, run.id, "snapshot", b"of a claim that was lost", version=0)
    world.do(logs.append, run.id, Phase.PLAN, start=0, text="planned\n", fence=run.fence, effects=None)
    run = world.planned(run)
    run = world.do(waiting.confirm, run, by="bob", comment=None)[0]
    run = world.claimed(run)
    run = world.do(owning.finish_apply, world.hold(run), Status.APPLIED, timings={"apply": {"terraform": 1}})
    tallying.tally(core)
    return run


def kept(core: Core, run: Run) -> set[str]:
    """The kinds of artifacts that can be read."""
    return {kind for kind in KINDS if core.database.read(artifacts.find, run.id, kind) and _loads(core, run, kind)}


def _loads(core: Core, run: Run, kind: str) -> bool:
    return load_artifact(core, run.workspace, run.id, kind) == kind.encode()


def belonging(world: World, run_id: int) -> set[str]:
    """The tables that have rows of a run."""
    named = {
        table.name: (table.c.run_id if "run_id" in table.c else table.c.id)
        for table in metadata.sorted_tables
        if "run_id" in table.c or table.name == "workspace_tasks"
    }
    return {
        name
        for name, column in named.items()
        if world.do(lambda tx, of=column: tx.execute(sa.select(of).where(of == run_id)).first())
    }


def counters(core: Core) -> dict[str, object]:
    tallying.tally(core)
    return {metric.name: metric.samples for metric in measuring.measure(core) if metric.name.endswith("_total")}


def test_what_an_ended_run_has_goes_by_its_age(world: World, core: Core) -> None:
    world.pod()
    run = applied(world, core)
    counted = counters(core)
    assert retaining.retain(core) == NOTHING
    world.clock.advance(7 * DAY + 1)
    assert retaining.retain(core) == Removed(artifacts=4)
    assert kept(core, run) == {"inputs", "plan_json", "diff"}
    assert core.artifacts.keys(f"runs/{run.id}") == [
        f"runs/{run.id}/{kind}-1" for kind in ("diff", "inputs", "plan_json")
    ]
    assert world.do(logs.size, run.id, Phase.PLAN) > 0
    world.clock.advance(23 * DAY)
    assert retaining.retain(core) == Removed(logs=1)
    assert world.do(logs.size, run.id, Phase.PLAN) == 0
    assert [event.cause for event in world.do(runs.events_of, run.id)].count(Cause.SLOT_LOST) == 1
    world.clock.advance(60 * DAY)
    assert retaining.retain(core) == Removed(runs=1)
    assert belonging(world, run.id) == set()
    assert core.artifacts.keys(f"runs/{run.id}") == []
    assert counters(core) == counted, "a counter went back"
    assert retaining.retain(core) == NOTHING


def test_a_run_that_goes_on_is_kept_however_old_it_is(world: World, core: Core) -> None:
    world.pod()
    waiting_runs = [world.at(status, workspace=status) for status in (Status.PENDING, Status.CONFIRMED)]
    interrupted = world.at(Status.APPLY_INTERRUPTED, workspace="x", slot_id=2)
    for run in waiting_runs:
        world.do(artifacts.record, run.id, [store_artifact(core, run.workspace, run.id, "plan", b"plan", version=0)])
    tallying.tally(core)
    before = world.rows()
    world.clock.advance(1000 * DAY)
    assert retaining.retain(core) == NOTHING
    assert world.rows() == before
    assert world.run(interrupted.id).status is Status.APPLY_INTERRUPTED


def test_a_run_that_was_not_counted_yet_is_kept(world: World, core: Core) -> None:
    world.do(waiting.cancel, world.enqueue(), by="bob")
    world.clock.advance(91 * DAY)
    assert retaining.retain(core).runs == 0
    tallying.tally(core)
    assert retaining.retain(core).runs == 1


def test_a_run_that_a_slot_still_names_is_kept_until_the_slot_is_free(world: World, core: Core) -> None:
    world.pod()
    run = applied(world, core)
    world.set_slot(2, status="running", run_id=run.id)
    world.clock.advance(91 * DAY)
    assert retaining.retain(core).runs == 0
    world.set_slot(2, status="idle", run_id=None)
    assert retaining.retain(core).runs == 1


class Interrupted(MemoryArtifacts):
    """Is killed at the third key that is deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted = 0

    def delete(self, key: str) -> None:
        self.deleted += 1
        if self.deleted == 3:
            raise KeyboardInterrupt
        super().delete(key)


@pytest.mark.parametrize("age", [8, 91])
def test_one_that_was_interrupted_leaves_nothing_behind(world: World, core: Core, age: int) -> None:
    core = dataclasses.replace(core, artifacts=Interrupted())
    world.pod()
    run = applied(world, core)
    world.clock.advance(age * DAY)
    with pytest.raises(KeyboardInterrupt):
        retaining.retain(core)
    assert retaining.retain(core).anything
    left = {"inputs", "plan_json", "diff"} if age == 8 else set()
    assert {key.split("/")[2].split("-")[0] for key in core.artifacts.keys(f"runs/{run.id}")} == left


def test_several_at_once_remove_each_run_once(world: World, core: Core) -> None:
    world.pod()
    for number in range(6):
        applied(world, core, workspace=f"w{number}")
    counted = counters(core)
    world.clock.advance(91 * DAY)
    found = at_once(*[lambda: retaining.retain(core)] * 3)
    assert sum(removed.runs for removed in found) == 6
    assert counters(core) == counted


def test_setbacks_are_never_counted_twice_nor_lost_while_they_are_moved(world: World, core: Core) -> None:
    """A reader on another connection sees either the events or the total."""
    world.pod()
    applied(world, core)
    world.clock.advance(91 * DAY)
    with world.database.transaction() as tx:
        assert retention.remove_runs(tx, retention.ended(tx, older_than_ms=0, limit=10)) == 1
        assert world.later.read(totals.setbacks) == {"slot_lost": 1}
    assert world.later.read(totals.setbacks) == {"slot_lost": 1}


def test_the_newest_versions_of_a_state_are_kept(world: World, core: Core) -> None:
    core = dataclasses.replace(core, settings=dataclasses.replace(core.settings, state_keep=3))
    add = _adder(world, core)
    for name, number in (("network", 25), ("cluster", 2)):
        for serial in range(1, number + 1):
            add(name, serial)
    assert retaining.retain(core) == Removed(states=22)
    assert [found.version for found in world.do(state_rows.listed, "network")] == [25, 24, 23]
    assert [found.version for found in world.do(state_rows.listed, "cluster")] == [2, 1]
    add("network", 26)
    assert Client(core).pull_state("network", version=26)
    assert retaining.retain(core) == Removed(states=1)


def _adder(world: World, core: Core) -> Callable[[str, int], None]:
    text = b'{"version": 4, "serial": %d, "lineage": "l", "resources": [], "outputs": {}, "terraform_version": "1"}'

    def add(name: str, serial: int) -> None:
        world.workspace(name)
        new = states.prepare(core, name, text % serial)
        assert new is not None
        world.do(state_rows.add, name, new, run_id=None)

    return add
