"""Failure 24: failed pods were never removed, and the back-off was counted under a name that changed each time."""

import pytest

from iacq.domain import pod_failures
from iacq.domain.pod_failures import FIRST_DELAY_MS, LONGEST_DELAY_MS, NONE, PROVEN_MS, PodFailures


def failed_in_a_row(number: int) -> PodFailures:
    """One pod after the other, each asked for when it may be and failed 100 ms later."""
    failures, now = NONE, 0
    for _ in range(number):
        now = max(now, pod_failures.retry_at(failures) or 0) + 1
        failures = pod_failures.after_failure(failures, created_at=now, now=now + 100)
    return failures


def delay(failures: PodFailures) -> int:
    at = pod_failures.retry_at(failures)
    return 0 if at is None else at - failures.last_at


def test_each_failure_doubles_the_delay_up_to_a_bound() -> None:
    delays = [delay(failed_in_a_row(number)) for number in range(9)]
    assert delays[:5] == [0, 5_000, 10_000, 20_000, 40_000]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY_MS
    assert delay(PodFailures(count=1_000_000)) == LONGEST_DELAY_MS


def test_pods_that_were_under_way_together_are_one_failure() -> None:
    failures = pod_failures.after_failure(NONE, created_at=10, now=1000)
    again = failures
    for created_at in (10, 11, 999, 1000):
        again = pod_failures.after_failure(again, created_at=created_at, now=5000)
    assert again == failures
    assert delay(failures) == FIRST_DELAY_MS


def test_one_pod_at_a_time_until_one_works() -> None:
    failures = failed_in_a_row(2)
    assert pod_failures.at_once(failures, wanted=10, starting=0) == 1
    assert pod_failures.at_once(failures, wanted=10, starting=1) == 0
    assert pod_failures.at_once(failures, wanted=10, starting=3) == 0
    assert pod_failures.at_once(failures, wanted=0, starting=0) == 0
    assert pod_failures.at_once(NONE, wanted=10, starting=3) == 10


@pytest.mark.parametrize(
    ("created_at", "online_for", "ends"),
    [
        (2000, PROVEN_MS, True),
        (1000, PROVEN_MS, True),  # of the same wave as the one that failed
        (2000, PROVEN_MS - 1, False),  # may crash yet
        (999, 10 * PROVEN_MS, False),  # from before: says nothing about pods as they are made now
    ],
)
def test_only_a_newer_pod_that_stays_ends_the_row(created_at: int, online_for: int, ends: bool) -> None:
    failures = pod_failures.after_failure(NONE, created_at=1000, now=1500)
    after = pod_failures.after_online(failures, created_at=created_at, online_since=2500, now=2500 + online_for)
    assert after == (NONE if ends else failures)
