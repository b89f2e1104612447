"""What a look at the queue finds, whatever waits."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import pytest

from iacq.domain.pool import PoolPolicy
from iacq.domain.queueing import Candidate, Turns
from iacq.domain.run import RunType, Status
from iacq.store import pools, queue, startable, workspaces
from iacq.store.schema import runs as run_table
from iacq.store.startable import Reached
from tests.store.world import World

S = Status
MANY = startable.ALL + 50


def enqueue(world: World, rows: Iterable[dict[str, Any]]) -> None:
    """Store waiting runs, many at once."""
    columns = {
        "status": S.PENDING,
        "task_type": RunType.PLAN_AND_APPLY,
        "fence": 0,
        "attempt": 0,
        "tries": 0,
        "pool": "default",
        "priority": 0,
        "auto_apply": False,
        "requested_by": "alice",
        "needs_protocol": 1,
        "created_ms": 1,
        "queued_ms": 1,
        "tallied": 0,
    }
    with world.database.transaction() as tx:
        tx.execute(run_table.insert(), [columns | row for row in rows])


def look(world: World, *pools_: str, after: dict[str, Reached] | None = None) -> list[Candidate]:
    found, _ = world.database.read(startable.find, pools_ or ("default",), after or {})
    by_workspace, by_caller = world.database.read(queue.running_counts)
    return list(Turns(found, by_workspace, by_caller))


@pytest.mark.parametrize("many", [0, MANY])
def test_the_first_run_of_each_free_workspace_and_every_plan(world: World, many: int) -> None:
    """The same is found however many wait behind an active run."""
    world.pod(slots_of_pod=2)
    world.at(S.PLANNING, workspace="busy")
    enqueue(world, ({"workspace_id": "busy", "priority": 9} for _ in range(many + 1)))
    enqueue(world, [{"workspace_id": "free"}, {"workspace_id": "free", "priority": 1}, {"workspace_id": "locked"}])
    enqueue(world, [{"workspace_id": name, "task_type": RunType.DRIFT} for name in ("busy", "free", "locked")])
    enqueue(world, [{"workspace_id": "elsewhere", "pool": "other"}])
    world.workspace("locked")
    world.do(workspaces.lock, "locked", by="eve", reason="x")
    found = [(run.workspace, run.run_type, run.priority) for run in look(world)]
    assert found[0] == ("free", RunType.PLAN_AND_APPLY, 1)
    assert sorted(found[1:]) == [(name, RunType.DRIFT, 0) for name in ("busy", "free", "locked")]
    assert [run.workspace for run in look(world, "other")] == ["elsewhere"]


def test_many_runs_of_one_caller_do_not_hide_those_of_another(world: World) -> None:
    plans = [{"workspace_id": f"w{number % 5}", "task_type": RunType.PLAN} for number in range(MANY)]
    enqueue(world, [*plans, {"workspace_id": "w0", "task_type": RunType.PLAN, "requested_by": "bob"}])
    world.pod(slots_of_pod=1)
    world.at(S.PLANNING, workspace="w9")  # of alice
    assert look(world)[0].requested_by == "bob"


def test_drift_does_not_hide_plans(world: World) -> None:
    enqueue(world, ({"workspace_id": f"w{number}", "task_type": RunType.DRIFT} for number in range(MANY)))
    enqueue(world, [{"workspace_id": "late", "task_type": RunType.PLAN}])
    assert look(world)[0].workspace == "late"


def test_priority_is_found_behind_many(world: World) -> None:
    enqueue(world, ({"workspace_id": f"w{number}"} for number in range(MANY)))
    enqueue(world, [{"workspace_id": f"w{MANY - 1}", "priority": 5}])
    assert look(world)[0].priority == 5


def test_every_workspace_is_reached_by_looking_again(world: World) -> None:
    """Behind runs that cannot start are more workspaces than one look jumps to."""
    world.pod(slots_of_pod=1)
    world.at(S.PLANNING, workspace="a")
    free = {f"w{number:03}" for number in range(startable.JUMPS + 20)}
    enqueue(world, ({"workspace_id": "a", "priority": 1} for _ in range(MANY)))
    enqueue(world, ({"workspace_id": name} for name in sorted(free)))
    seen, after = set(), {}
    for _ in range(3):
        found, after = world.database.read(startable.find, ["default"], after)
        seen |= {run.workspace for run in found}
    assert seen == free


def test_a_broken_row_hides_no_other(world: World) -> None:
    enqueue(world, ({"workspace_id": f"w{number:03}"} for number in range(MANY)))
    with world.database.transaction() as tx:
        tx.execute(run_table.update().where(run_table.c.workspace_id == "w000").values(requested_by=None))
    assert {"w001", "w002"} <= {run.workspace for run in look(world)}


def test_what_waits_of_a_workspace_moves_with_it(world: World) -> None:
    world.do(pools.create, "other", PoolPolicy(max_pods=1))
    world.workspace()
    waiting, running = world.enqueue(), world.enqueue(run_type=RunType.PLAN)
    world.pod(slots_of_pod=1)
    world.set_run(running.id, status=S.PLAN_QUEUED)
    moved = world.database.read(workspaces.get, "network")
    world.do(workspaces.update, dataclasses.replace(moved, pool="other"), secrets=None)
    assert (world.run(waiting.id).pool, world.run(running.id).pool) == ("other", "default")
