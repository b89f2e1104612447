import dataclasses
from typing import Any

import pytest

from iacq.domain import queueing
from iacq.domain.pool import FailingPods
from iacq.domain.queueing import Surroundings
from iacq.domain.run import RunType, Status
from tests import samples

CALM: dict[str, Any] = {
    "workspace": samples.workspace(),
    "active": None,
    "ahead": None,
    "free_slots": 1,
    "pods": 1,
    "has_pool": True,
    "control_seen": True,
    "control_protocol": 1,
    "pods_protocol": 1,
}
LOCKED = samples.workspace(locked_by="bob", locked_reason="migration", locked_at=5)
FAILING = FailingPods(reason="no such image", retry_at=3_661_000)
ACTIVE = samples.run(Status.PLANNING, id=7)
INTERRUPTED = samples.run(Status.APPLY_INTERRUPTED, id=7)
AHEAD = samples.run(Status.PENDING, id=8)


def code(status: Status, *, run_type: RunType = RunType.PLAN_AND_APPLY, **around: Any) -> str | None:
    run = samples.run(status, run_type=run_type, queue="pod1.2")
    found = queueing.explain(run, Surroundings(**{**CALM, **around}))
    return found.code if found else None


@pytest.mark.parametrize(
    ("status", "around", "expected"),
    [
        (Status.APPLY_PENDING, {}, "confirmation"),
        (Status.PLAN_QUEUED, {}, "claim"),
        (Status.APPLY_QUEUED, {}, "claim"),
        (Status.APPLY_INTERRUPTED, {}, "interrupted_run"),
        (Status.PENDING, {"active": ACTIVE}, "behind_run"),
        (Status.PENDING, {"active": INTERRUPTED}, "interrupted_run"),
        (Status.PENDING, {"workspace": LOCKED}, "workspace_locked"),
        (Status.PENDING, {"workspace": LOCKED, "active": ACTIVE}, "behind_run"),
        (Status.CONFIRMED, {"workspace": LOCKED}, "workspace_locked"),
        (Status.PENDING, {"ahead": AHEAD}, "behind_run"),
        (Status.CONFIRMED, {"ahead": AHEAD}, "claim"),
        (Status.PENDING, {"control_seen": False, "pods": 0}, "no_control"),
        (Status.PENDING, {"pods": 0, "free_slots": 0}, "no_agent"),
        (Status.PENDING, {"pods": 0, "free_slots": 0, "has_pool": False}, "no_agent"),
        (Status.PENDING, {"free_slots": 0}, "no_free_slot"),
        (Status.CONFIRMED, {"free_slots": 0}, "no_free_slot"),
        (Status.PENDING, {"free_slots": 0, "full_slots": 2, "maximum": 1}, "disk_full"),
        (Status.PENDING, {"free_slots": 0, "full_slots": 2, "starting_since": 5}, "starting_pod"),
        (Status.PENDING, {"free_slots": 1, "full_slots": 2}, "claim"),
        (Status.PENDING, {"free_slots": 0, "maximum": 2}, "pool_at_maximum"),
        (Status.PENDING, {"free_slots": 0, "maximum": 2, "overtaken_by": 9}, "fair_share"),
        (Status.PENDING, {"free_slots": 0, "maximum": 2, "starting_since": 5}, "starting_pod"),
        (Status.PENDING, {"free_slots": 0, "pods": 0, "starting_since": 5}, "starting_pod"),
        (Status.PENDING, {"free_slots": 0, "pods": 0, "failing": FAILING}, "pods_fail"),
        (Status.PENDING, {"free_slots": 0, "pods": 0, "failing": FAILING, "starting_since": 5}, "starting_pod"),
        (Status.PENDING, {"overtaken_by": 9, "maximum": 2}, "claim"),
        (Status.PENDING, {"frozen": "frozen until noon", "active": ACTIVE}, "frozen_until"),
        (Status.CONFIRMED, {"frozen": "frozen until noon", "pods": 0}, "frozen_until"),
        (Status.APPLY_PENDING, {"frozen": "frozen until noon"}, "confirmation"),
        (Status.PENDING, {}, "claim"),
        (Status.PENDING, {"workspace": None}, "claim"),
    ],
)
def test_why_a_run_waits(status: Status, around: dict[str, Any], expected: str) -> None:
    assert code(status, **around) == expected


@pytest.mark.parametrize("run_type", [RunType.PLAN, RunType.DRIFT])
def test_plans_wait_neither_for_a_lock_nor_for_other_runs(run_type: RunType) -> None:
    around = {"workspace": LOCKED, "active": ACTIVE, "ahead": AHEAD}
    assert code(Status.PENDING, run_type=run_type, **around) == "claim"
    assert code(Status.PENDING, run_type=run_type, **around, free_slots=0) == "no_free_slot"


def test_what_runs_or_has_ended_does_not_wait() -> None:
    waiting = {status for status in Status if code(status) is not None}
    assert waiting == {
        Status.PENDING,
        Status.PLAN_QUEUED,
        Status.APPLY_PENDING,
        Status.CONFIRMED,
        Status.APPLY_QUEUED,
        Status.APPLY_INTERRUPTED,
    }


def test_sentences_name_who_and_what() -> None:
    def text(**around: Any) -> str:
        found = queueing.explain(samples.run(), Surroundings(**{**CALM, **around}))
        assert found is not None
        return found.text

    assert "bob: migration" in text(workspace=LOCKED)
    assert "run 7 (planning)" in text(active=ACTIVE)
    assert "iacq show 7" in text(active=INTERRUPTED)
    assert "run 8 (pending)" in text(ahead=AHEAD)
    assert "iacq up" in text(control_seen=False)
    assert "iacq pool create default --max" in text(free_slots=0, pods=0, has_pool=False)
    assert "iacq pool update default --max" in text(free_slots=0, pods=0, maximum=0)
    assert "maximum of 2 pods" in text(free_slots=0, maximum=2)
    assert "run 9 goes first" in text(free_slots=0, overtaken_by=9)
    assert text(free_slots=0, starting_since=3_661_000).endswith("since 01:01:01 UTC")
    assert text(free_slots=0, starting_since=5, starting_reason="no node").endswith("does not run: no node")
    assert text(free_slots=0, failing=FAILING).endswith("no such image; the next one is tried at 01:01:01 UTC")


def ids(runs: list[Any], workspaces: dict[str, int] | None = None, callers: dict[str, int] | None = None) -> list[int]:
    return [run.id for run in queueing.Turns(runs, workspaces or {}, callers or {})]


def test_order_priority_confirmed_drift_oldest() -> None:
    old = samples.run(id=1)
    drift = samples.run(id=2, run_type=RunType.DRIFT)
    plan = samples.run(id=3, run_type=RunType.PLAN)
    confirmed = samples.run(Status.CONFIRMED, id=4)
    urgent = samples.run(id=5, priority=1)
    urgent_drift = samples.run(id=6, priority=2, run_type=RunType.DRIFT)
    late = samples.run(Status.CONFIRMED, id=7, priority=-1)
    everything = [late, drift, plan, urgent, confirmed, urgent_drift, old]
    assert ids(everything) == [6, 5, 4, 1, 3, 2, 7]
    assert [run.id for run in sorted(everything, key=queueing.order)] == [6, 5, 4, 1, 3, 2, 7]


def test_fair_share_fewest_running_of_the_workspace_then_of_the_caller_then_oldest() -> None:
    runs = [
        samples.run(id=1, workspace="busy", requested_by="alice"),
        samples.run(id=2, workspace="free", requested_by="busy-caller"),
        samples.run(id=3, workspace="free", requested_by="alice"),
        samples.run(id=4, workspace="free", requested_by="alice"),
    ]
    assert ids(runs, {"busy": 1}, {"busy-caller": 2}) == [3, 4, 2, 1]
    assert ids([dataclasses.replace(runs[0], priority=1), *runs[1:]], {"busy": 9}) == [1, 2, 3, 4]


def test_who_started_moves_the_others_of_its_workspace_and_caller_back() -> None:
    runs = [
        samples.run(id=1, workspace="a", requested_by="alice"),
        samples.run(id=2, workspace="b", requested_by="alice"),
        samples.run(id=3, workspace="c", requested_by="bob"),
        samples.run(id=4, workspace="a", requested_by="carol"),
    ]
    turns = queueing.Turns(runs, {}, {})
    found = []
    for run in turns:
        found.append(run.id)
        turns.count(run)
    assert found == [1, 3, 2, 4]


def test_who_is_overtaken_by_a_younger_one() -> None:
    runs = [
        samples.run(id=1, workspace="busy"),
        samples.run(id=2, workspace="free"),
        samples.run(id=3, workspace="free", priority=1),
        samples.run(id=4, workspace="free", run_type=RunType.DRIFT),
    ]
    assert queueing.find_overtaken(queueing.Turns(runs, {"busy": 1}, {})) == {1: 2}
