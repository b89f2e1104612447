import pytest

from iacq.domain import recovery, transitions
from iacq.domain.run import Phase, Run, Status
from tests import samples

CLAIMED = [Status.PLANNING, Status.APPLYING]
BACK = {Status.PLANNING: Status.PENDING, Status.APPLYING: Status.CONFIRMED}


def claimed(status: Status, tries: int = 1, *, cancel: bool = False, effects: bool = False) -> Run:
    return samples.run(
        status, tries=tries, cancel_requested_at=1 if cancel else None, effects_at=1 if effects else None
    )


@pytest.mark.parametrize("status", CLAIMED)
def test_back_until_the_tries_are_used_up(status: Status) -> None:
    most = transitions.MAX_TRIES[transitions.PHASE_OF[status]]
    ways = [recovery.decide_way_back(claimed(status, tries)) for tries in range(1, most + 2)]
    assert ways == [BACK[status]] * (most - 1) + [Status.FAILED] * 2


@pytest.mark.parametrize("status", CLAIMED)
def test_a_try_that_is_given_back_is_given_back_first(status: Status) -> None:
    most = transitions.MAX_TRIES[transitions.PHASE_OF[status]]
    assert recovery.tries_after(claimed(status, most), counted=False) == most - 1
    assert recovery.tries_after(claimed(status, most), counted=True) == most
    assert recovery.decide_way_back(claimed(status, most), counted=False) is BACK[status]
    assert recovery.decide_way_back(claimed(status, most + 1), counted=False) is Status.FAILED


@pytest.mark.parametrize("status", CLAIMED)
@pytest.mark.parametrize("counted", [True, False])
def test_a_requested_cancel_comes_first(status: Status, counted: bool) -> None:
    assert recovery.decide_way_back(claimed(status, 99, cancel=True), counted=counted) is Status.CANCELLED


@pytest.mark.parametrize("status", CLAIMED)
def test_every_decision_is_in_the_table(status: Status) -> None:
    for tries in range(7):
        for cancel in (False, True):
            for effects in {False, status is Status.APPLYING}:
                target = recovery.decide_lease_lost(claimed(status, tries, cancel=cancel, effects=effects))
                assert transitions.is_allowed(status, transitions.Cause.LEASE_LOST, target)


def test_with_effects_nobody_knows() -> None:
    for cancel in (False, True):
        lost = recovery.decide_lease_lost(claimed(Status.APPLYING, 9, cancel=cancel, effects=True))
        assert lost is Status.APPLY_INTERRUPTED
    assert recovery.decide_lease_lost(claimed(Status.APPLYING)) is Status.CONFIRMED


@pytest.mark.parametrize(
    ("returncode", "cancel", "expected"),
    [
        (0, False, Status.APPLIED),
        (0, True, Status.APPLIED),
        (1, False, Status.FAILED),
        (1, True, Status.CANCELLED),
        (-9, False, Status.FAILED),
        (-9, True, Status.CANCELLED),
    ],
)
def test_an_apply_keeps_its_true_outcome(returncode: int, cancel: bool, expected: Status) -> None:
    assert recovery.decide_apply_end(returncode, cancel_requested=cancel) is expected


def test_after_a_restore_nothing_can_be_applied_that_may_have_been() -> None:
    for status in set(Status) - transitions.ENDED:
        for cancel in {False, status in transitions.RUNNING}:
            target = recovery.decide_after_restore(claimed(status, cancel=cancel))
            assert transitions.is_allowed(status, transitions.Cause.RESTORED, target)
            if transitions.PHASE_OF.get(status) is Phase.APPLY:
                assert target is Status.APPLY_INTERRUPTED
            else:
                assert target not in transitions.ACTIVE
