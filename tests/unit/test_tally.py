from typing import Any

import pytest

from iacq.domain import tally
from iacq.domain.run import Status
from iacq.domain.tally import Untallied

TIMINGS = {"plan": {"init": 94_700, "terraform": 3}, "apply": {"terraform": 26_000}}


def run(status: Status, *, tallied: int = tally.NOTHING, timings: Any = TIMINGS) -> Untallied:
    return Untallied(
        tallied=tallied,
        status=status,
        run_type="plan_and_apply",
        pool="default",
        start_tier="hot" if status is Status.APPLIED else None,
        timings=timings,
    )


def test_a_plan_counts_when_it_is_over_and_the_rest_at_the_end() -> None:
    planned = tally.count(run(Status.APPLY_PENDING))
    assert dict(planned) == {
        ("step_seconds", ("default", "plan", "init", "120")): 1,
        ("step_seconds", ("default", "plan", "init", "sum")): 94.7,
        ("step_seconds", ("default", "plan", "terraform", "0.01")): 1,
        ("step_seconds", ("default", "plan", "terraform", "sum")): 0.003,
    }
    applied = tally.count(run(Status.APPLIED, tallied=tally.PLAN))
    assert dict(applied) == {
        ("step_seconds", ("default", "apply", "terraform", "30")): 1,
        ("step_seconds", ("default", "apply", "terraform", "sum")): 26.0,
        ("runs_ended", ("default", "plan_and_apply", "applied")): 1,
        ("apply_starts", ("default", "hot")): 1,
    }
    both = tally.count(run(Status.APPLIED))
    assert both == planned + applied


def test_what_was_counted_is_remembered() -> None:
    assert tally.tallied_after(run(Status.APPLY_PENDING)) == tally.PLAN
    assert tally.tallied_after(run(Status.APPLY_INTERRUPTED)) == tally.PLAN
    assert tally.tallied_after(run(Status.CANCELLED)) == tally.ALL


@pytest.mark.parametrize("timings", [None, {}, [], "x", {"plan": None}, {"plan": {"init": None, "show": "x"}}])
def test_damaged_times_count_as_none(timings: Any) -> None:
    assert dict(tally.count(run(Status.FAILED, timings=timings))) == {
        ("runs_ended", ("default", "plan_and_apply", "failed")): 1
    }


def test_what_takes_longer_than_the_last_bucket_is_above_it() -> None:
    found = tally.count(run(Status.FAILED, timings={"plan": {"queue_wait": 10**9}}))
    assert found["step_seconds", ("default", "plan", "queue_wait", "+Inf")] == 1
