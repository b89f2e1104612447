"""The same seed gives the same faults."""

import pytest

from tests.chaos import schedule
from tests.chaos.load import fate
from tests.chaos.schedule import CALM, Kind


def test_a_seed_is_one_schedule() -> None:
    assert schedule.make(7, 5) == schedule.make(7, 5)
    assert schedule.make(7, 5) != schedule.make(8, 5)
    assert fate(7, 3, slow=False) == fate(7, 3, slow=False)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_happens_within_the_time(seed: int) -> None:
    faults = schedule.make(seed, 5)
    assert {fault.kind for fault in faults} == set(Kind) - {Kind.CANCEL}
    assert all(fault.at > 0 and fault.until <= 300 for fault in faults)
    assert faults == sorted(faults, key=lambda fault: fault.at)


@pytest.mark.parametrize(("minutes", "lasts"), [(2, 18), (20, 180), (60, 180)])
def test_nothing_else_happens_in_the_long_outage(minutes: float, lasts: float) -> None:
    faults = schedule.make(1, minutes)
    [outage] = [fault for fault in faults if fault.kind is Kind.OUTAGE]
    assert outage.lasts == lasts
    for fault in faults:
        if fault is not outage:
            assert fault.until < outage.at - CALM or fault.at > outage.until + CALM
