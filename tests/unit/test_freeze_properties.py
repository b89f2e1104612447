"""All that is asked about freezes fits together, and agrees with somebody who looks at the clock every minute."""

import datetime as dt
import functools
import itertools
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from iacq.domain.freeze import deciding
from iacq.domain.freeze.windows import Bypass, Freezes, Manual, OneOff, Recurring
from tests.unit.freezes import DAY, at

MINUTE = 60_000
CHANGES = {  # days on which clocks change: forth and back
    "America/New_York": ("03-08", "11-01"),
    "Europe/Berlin": ("03-29", "10-25"),
    "Australia/Lord_Howe": ("10-03", "04-04"),  # by half an hour
    "America/Havana": ("03-08", "11-01"),  # at midnight
    "America/Santiago": ("09-06", "04-05"),  # at midnight, back into the day before
    "Antarctica/Troll": ("03-29", "10-25"),  # by two hours
    "Africa/Casablanca": ("03-22", "02-15"),
    "UTC": ("06-01", "12-01"),
}
AROUND = 4 * DAY  # looked at on both sides of a change
PADDING = 3 * DAY  # and beside that, so that no window is cut


@functools.cache
def clock(zone: str, change: int) -> list[dt.datetime]:
    """What the clock shows at each minute around a change."""
    place, first = ZoneInfo(zone), (change - AROUND - PADDING) // MINUTE
    return [
        dt.datetime.fromtimestamp(minute * 60, place).replace(tzinfo=None)
        for minute in range(first, first + 2 * (AROUND + PADDING) // MINUTE)
    ]


def watched(window: Recurring, change: int) -> set[int]:
    """Minutes that are frozen, found by looking at the clock: from the first that shows the window to the last."""
    shown = clock(window.zone, change)
    first, frozen = (change - AROUND - PADDING) // MINUTE, set[int]()
    day = shown[0].replace(hour=0, minute=0)
    while day <= shown[-1]:
        if day.weekday() in window.days:
            start = day + dt.timedelta(minutes=window.start)
            end = day + dt.timedelta(minutes=window.end, days=1 if window.end <= window.start else 0)
            near = (day - shown[0]) // dt.timedelta(minutes=1)
            around = range(max(0, near - 300), min(len(shown), near + 2 * 1440 + 300))
            seen = [number for number in around if start <= shown[number] < end]
            if seen:
                frozen.update(range(first + seen[0], first + seen[-1] + 1))
        day += dt.timedelta(days=1)
    return frozen


def minutes_of(freezes: Freezes, change: int) -> set[int]:
    """Minutes that the preview names."""
    start, end = change - AROUND, change + AROUND
    return {
        minute
        for interval in deciding.preview(freezes, start, end)
        for minute in range(interval.start // MINUTE, (min(end, interval.end) if interval.end else end) // MINUTE)
    }


CASES = [(zone, at(f"{day} 00:00")) for zone, days in CHANGES.items() for day in days]
TABLE = [
    ("daily", 22 * 60, 6 * 60),
    ("daily", 0, 60),
    ("daily", 30, 105),
    ("daily", 60, 120),
    ("daily", 95, 100),
    ("daily", 105, 110),
    ("daily", 120, 180),
    ("daily", 150, 149),
    ("daily", 0, 1440),
    ("daily", 23 * 60 + 30, 15),
    ("daily", 23 * 60 + 10, 1440),
    ("sat", 23 * 60, 150),
    ("sun", 100, 170),
    ("sun,mon", 0, 1440),
]
DAYS_OF = {"daily": range(7), "sat": (5,), "sun": (6,), "sun,mon": (6, 0)}


def recurring(days: frozenset[int], start: int, end: int, zone: str) -> Recurring:
    return Recurring(name="w", days=days, start=start, end=end, zone=zone)


@pytest.mark.parametrize(("zone", "change"), CASES)
def test_weeks_of_clock_changes_agree_with_the_clock(zone: str, change: int) -> None:
    looked_at = set(range((change - AROUND) // MINUTE, (change + AROUND) // MINUTE))
    for days, start, end in TABLE:
        window = recurring(frozenset(DAYS_OF[days]), start, end, zone)
        assert minutes_of(Freezes(windows=(window,)), change) == watched(window, change) & looked_at, window


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe"])
def test_each_minute_of_a_change_agrees_with_the_clock(zone: str) -> None:
    for day in CHANGES[zone]:
        change = at(f"{day} 00:00")
        windows = [recurring(frozenset({5, 6}), start, end, zone) for _, start, end in TABLE[1:6]]
        frozen = set[int]().union(*(watched(window, change) for window in windows))
        freezes = Freezes(windows=tuple(windows))
        for minute in range((change - DAY // 4) // MINUTE, (change + DAY) // MINUTE):
            assert deciding.decide(freezes, minute * MINUTE).frozen is (minute in frozen), minute


ZONES_AND_CHANGES = st.sampled_from(CASES)
MOMENTS = st.integers(0, 2 * AROUND)


@st.composite
def recurring_windows(draw: st.DrawFn, zone: str) -> Recurring:
    start = draw(st.integers(0, 1439) | st.integers(0, 200))
    end = draw(st.integers(0, 1440) | st.integers(0, 200))
    assume(start != end)
    return recurring(draw(st.frozensets(st.integers(0, 6), min_size=1)), start, end, zone)


@st.composite
def pools(draw: st.DrawFn) -> tuple[Freezes, int]:
    """All kinds of freezes around a change of clocks, and the moment of that."""
    zone, change = draw(ZONES_AND_CHANGES)
    zones = st.sampled_from([zone, "Europe/Berlin", "America/New_York"])
    weekly = draw(st.lists(zones.flatmap(recurring_windows), max_size=4))
    begin = change - AROUND
    pairs = st.tuples(MOMENTS, MOMENTS).filter(lambda pair: pair[0] < pair[1])
    dated = draw(st.lists(pairs, max_size=3))
    once = [OneOff(name="o", at=begin + start, until=begin + end, zone="UTC") for start, end in dated]
    held = draw(st.none() | pairs)
    endless = draw(st.booleans())
    lifted = draw(st.none() | pairs)
    return Freezes(
        windows=(*weekly, *once),
        manual=Manual(since=begin + held[0], until=None if endless else begin + held[1], reason="r", by="a")
        if held
        else None,
        bypass=Bypass(since=begin + lifted[0], until=begin + lifted[1], reason="r", by="b") if lifted else None,
    ), change


@settings(deadline=None, max_examples=40)
@given(ZONES_AND_CHANGES.flatmap(lambda pair: st.tuples(recurring_windows(pair[0]), st.just(pair[1]))))
def test_any_window_agrees_with_the_clock(found: tuple[Recurring, int]) -> None:
    window, change = found
    looked_at = set(range((change - AROUND) // MINUTE, (change + AROUND) // MINUTE))
    assert minutes_of(Freezes(windows=(window,)), change) == watched(window, change) & looked_at


@settings(deadline=None, max_examples=25)
@given(pools(), st.lists(MOMENTS, min_size=1, max_size=10))
def test_a_preview_says_what_is_decided_then(found: tuple[Freezes, int], offsets: list[int]) -> None:
    freezes, change = found
    start, end = change - AROUND, change + AROUND
    intervals = deciding.preview(freezes, start, end)
    edges = [edge for interval in intervals for edge in (interval.start, interval.end) if edge is not None]
    asked = [start + offset for offset in offsets] + [edge + step for edge in edges for step in (-1, 0, 1)]
    for now in asked:
        if start <= now < end:
            covering = [i for i in intervals if i.start <= now and (i.end is None or now < i.end)]
            decision = deciding.decide(freezes, now)
            assert decision.frozen is bool(covering)
            assert [decision.until] == [interval.end for interval in covering] or not covering
    for one, next_ in itertools.pairwise(intervals):
        assert one.end is not None
        assert one.end < next_.start  # merged


@settings(deadline=None, max_examples=60)
@given(pools(), MOMENTS, st.floats(0, 1, exclude_max=True))
def test_the_answer_holds_until_the_next_change(found: tuple[Freezes, int], offset: int, part: float) -> None:
    freezes, change = found
    now = change - AROUND + offset
    decision = deciding.decide(freezes, now)
    after = decision.next_change
    between = now + int(part * ((after if after is not None else now + 500 * DAY) - now))
    assert deciding.decide(freezes, between).frozen is decision.frozen
    if after is not None:
        assert after > now
        assert deciding.decide(freezes, after - 1).frozen is decision.frozen
        assert deciding.decide(freezes, after).frozen is not decision.frozen
    assert decision.until == (after if decision.frozen else None)
    assert deciding.first_open(freezes, now) == (after if decision.frozen else now)
    assert bool(decision.spans) is (decision.frozen or after is not None)


@settings(deadline=None, max_examples=60)
@given(pools(), MOMENTS)
def test_frozen_is_what_any_of_them_freezes(found: tuple[Freezes, int], offset: int) -> None:
    freezes, change = found
    now = change - AROUND + offset
    alone = [deciding.decide(Freezes(windows=(window,)), now).frozen for window in freezes.windows]
    alone.append(deciding.decide(Freezes(manual=freezes.manual), now).frozen)
    lifted = freezes.bypass is not None and freezes.bypass.since <= now < freezes.bypass.until
    assert deciding.decide(freezes, now).frozen is (any(alone) and not lifted)
