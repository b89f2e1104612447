from typing import Any

import pytest

from iacq.domain import transitions
from iacq.domain.run import Run, Status, WarmupStatus
from iacq.services.cleaning import RunDirectory, is_removable
from tests import samples

PLACE = ("pod1", 2)
AGENT = "agent-1"
PREPARED_HERE = {"prepared_agent_id": AGENT, "prepared_pod_name": "pod1", "prepared_slot_id": 2}
KEEP_MS = 3_600_000
UNENDED = sorted(set(Status) - transitions.ENDED - {Status.APPLY_INTERRUPTED})


def removable(run: Run | None, fence: int, *, now_ms: int = 10_000_000) -> bool:
    directory = RunDirectory(run_id=1, fence=fence, place=PLACE)
    return is_removable(run, directory, AGENT, now_ms, KEEP_MS)


def run(status: Status, **changes: Any) -> Run:
    return samples.run(status, **{"fence": 5, "plan_fence": 3, **changes})


def test_of_a_run_that_does_not_exist() -> None:
    assert removable(None, 1)


@pytest.mark.parametrize("status", sorted(transitions.ENDED - {Status.FAILED}))
def test_an_ended_run_needs_none_of_its_directories(status: Status) -> None:
    ended = run(status, completed_at=10_000_000, effects_fence=5, **PREPARED_HERE)
    assert all(removable(ended, fence) for fence in range(7))


def test_those_of_a_failed_run_are_kept_for_a_while() -> None:
    failed = run(Status.FAILED, completed_at=1_000_000)
    for fence in range(7):
        assert not removable(failed, fence, now_ms=1_000_000 + KEEP_MS - 1)
        assert removable(failed, fence, now_ms=1_000_000 + KEEP_MS)


@pytest.mark.parametrize("status", sorted(transitions.RUNNING))
def test_the_claim_that_works_keeps_its_directory(status: Status) -> None:
    assert not removable(run(status), 5)
    assert removable(run(status), 4)
    assert removable(run(status), 1)


@pytest.mark.parametrize("status", sorted(set(UNENDED) - transitions.RUNNING))
def test_of_a_waiting_run_only_the_prepared_directory_is_kept(status: Status) -> None:
    """A plan whose reservation was given up has the fence of its last claim, and nothing will use its directory."""
    assert removable(run(status, fence=3), 3)
    assert not removable(run(status, fence=3, **PREPARED_HERE), 3)
    assert removable(run(status), 5)


@pytest.mark.parametrize("status", UNENDED)
def test_the_plan_is_kept_where_it_is_prepared_and_nowhere_else(status: Status) -> None:
    assert not removable(run(status, **PREPARED_HERE), 3)
    assert removable(run(status), 3)
    for changed in ({"prepared_agent_id": "agent-0"}, {"prepared_pod_name": "pod2"}, {"prepared_slot_id": 1}):
        assert removable(run(status, **{**PREPARED_HERE, **changed}), 3)


WARMED_UP = {"fence": 7, "warmup_fence": 7, "warmup_status": WarmupStatus.READY}


@pytest.mark.parametrize("status", [Status.APPLY_PENDING, Status.CONFIRMED, Status.APPLY_QUEUED, Status.APPLYING])
def test_what_was_warmed_up_is_kept_where_it_is_and_only_that(status: Status) -> None:
    here = run(status, **WARMED_UP, **PREPARED_HERE)
    assert not removable(here, 7)
    assert removable(here, 3), "another slot has that of the plan, or had"
    moved = run(status, **{**WARMED_UP, **PREPARED_HERE, "prepared_slot_id": 1, "fence": 8})
    assert removable(moved, 7)
    applying = run(Status.APPLYING, **{**WARMED_UP, "fence": 9}, effects_fence=8)
    assert not removable(applying, 7), "the apply runs in it"


@pytest.mark.parametrize("status", [WarmupStatus.FAILED, WarmupStatus.EXPIRED])
def test_what_is_left_of_a_warm_up_that_is_over_goes(status: WarmupStatus) -> None:
    over = run(Status.APPLY_PENDING, fence=7, warmup_status=status)
    assert all(removable(over, fence) for fence in range(9))


def test_an_apply_with_effects_keeps_what_it_may_run_in() -> None:
    applying = run(Status.APPLYING, fence=9, effects_fence=6)
    assert not removable(applying, 9)
    assert not removable(applying, 6)
    assert not removable(applying, 3), "a hot apply runs in the directory of its plan"
    assert removable(applying, 5)


def test_all_that_an_interrupted_apply_left_is_evidence() -> None:
    interrupted = run(Status.APPLY_INTERRUPTED, fence=9, effects_fence=6)
    assert not any(removable(interrupted, fence) for fence in range(11))
