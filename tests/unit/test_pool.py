from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iacq import errors
from iacq.domain import transitions
from iacq.domain.pool import Demand, PoolPod, PoolPolicy, count_demand
from iacq.domain.run import Status
from iacq.domain.slot import PodStatus
from tests import samples

STATES = st.lists(st.tuples(st.sampled_from(Status), st.booleans()))


@given(runs=STATES, startable=st.integers(0, 50), confirmed=st.integers(0, 50), unprepared=st.integers(0, 50))
def test_every_run_counts_once_or_not_at_all(
    runs: list[tuple[Status, bool]], startable: int, confirmed: int, unprepared: int
) -> None:
    """Failure 19: what was picked up vanished from the count, and what could not start was in it."""
    demand = count_demand(Counter(runs), startable=startable, confirmed=confirmed, unprepared=unprepared)
    under_way = {Status.PLAN_QUEUED, Status.PLANNING, Status.APPLY_QUEUED, Status.APPLYING}
    assert demand.queue_depth == startable + confirmed
    assert demand.running == sum(status in under_way for status, _ in runs) + runs.count((Status.CONFIRMED, True))
    assert demand.interrupted == runs.count((Status.APPLY_INTERRUPTED, True))
    assert demand.apply_pending == runs.count((Status.APPLY_PENDING, True))
    assert demand.unprepared == unprepared
    waiting = demand.apply_pending + demand.unprepared
    assert demand.slots == demand.queue_depth + demand.running + demand.interrupted + waiting


def test_what_has_ended_waits_behind_another_run_or_was_proven_ended_needs_no_slot() -> None:
    no_slot = dict.fromkeys((*transitions.ENDED, Status.PENDING), 7)
    runs = {(status, False): number for status, number in no_slot.items()}
    runs |= {(Status.CONFIRMED, False): 7, (Status.APPLY_PENDING, False): 7, (Status.APPLY_INTERRUPTED, False): 7}
    assert count_demand(runs, startable=0, confirmed=0) == Demand()


@pytest.mark.parametrize(
    ("numbers", "field"),
    [
        ({"min_pods": -1}, "--min"),
        ({"max_pods": -1}, "--max"),
        ({"slots_per_pod": 0}, "--slots"),
        ({"headroom": -1}, "--headroom"),
        ({"idle_grace_ms": -1}, "--idle-grace"),
        ({"min_pods": 6}, "--min"),
    ],
)
def test_numbers_that_make_no_pool_are_refused(numbers: dict[str, int], field: str) -> None:
    with pytest.raises(errors.InvalidInput, match=field) as refused:
        PoolPolicy(**{"max_pods": 5, **numbers})
    assert refused.value.field == field
    assert refused.value.hint


def test_a_pod_is_idle_since_its_last_change() -> None:
    slots = (samples.slot("a", 1, updated_at=20), samples.slot("a", 2, updated_at=50))
    pod = PoolPod(name="a", status=PodStatus.ONLINE, slots=slots, created_at=10)
    assert pod.idle_since == 50
    assert PoolPod(name="a", status=PodStatus.STARTING, slots=(), created_at=10).idle_since == 10
