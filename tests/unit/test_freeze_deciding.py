"""Tables: what people mean by their windows. All moments in UTC."""

import pytest

from iacq.domain.freeze import deciding, spans
from iacq.domain.freeze.deciding import Decision
from iacq.domain.freeze.windows import Bypass, Freezes, Manual, Unreadable, Window
from tests.unit.freezes import DAY, HOUR, at, once, pool, weekly

NY, BERLIN, LORD_HOWE = "America/New_York", "Europe/Berlin", "Australia/Lord_Howe"


def names(decision: Decision) -> list[str]:
    return [getattr(span.source, "name", "by hand") for span in decision.spans]


@pytest.mark.parametrize(
    ("zone", "window", "asked", "start", "end"),
    [
        # An ordinary week, in winter and in summer.
        (NY, "mon-fri 23:00-02:00", "01-12 12:00", "01-13 04:00", "01-13 07:00"),
        (NY, "mon-fri 23:00-02:00", "07-13 12:00", "07-14 03:00", "07-14 06:00"),
        # New York, 8 March, 07:00 UTC: 02:00 becomes 03:00.
        (NY, "sun 01:00-04:00", "03-08 00:00", "03-08 06:00", "03-08 08:00"),
        (NY, "sun 02:30-04:00", "03-08 00:00", "03-08 07:00", "03-08 08:00"),
        (NY, "sun 01:00-02:30", "03-08 00:00", "03-08 06:00", "03-08 07:00"),
        (NY, "sun 03:00-04:00", "03-08 00:00", "03-08 07:00", "03-08 08:00"),
        (NY, "sat 23:00-02:30", "03-08 00:00", "03-08 04:00", "03-08 07:00"),
        (NY, "sun 02:00-03:00", "03-08 00:00", "03-15 06:00", "03-15 07:00"),  # not on that day
        (NY, "sun 00:00-24:00", "03-08 00:00", "03-08 05:00", "03-09 04:00"),  # 23 hours
        # New York, 1 November, 06:00 UTC: 02:00 becomes 01:00.
        (NY, "sun 01:00-02:00", "11-01 00:00", "11-01 05:00", "11-01 07:00"),
        (NY, "sun 01:30-01:45", "11-01 00:00", "11-01 05:30", "11-01 06:45"),
        (NY, "sun 00:00-01:00", "11-01 00:00", "11-01 04:00", "11-01 05:00"),
        (NY, "sun 02:00-03:00", "11-01 00:00", "11-01 07:00", "11-01 08:00"),
        (NY, "sat 23:00-01:30", "11-01 00:00", "11-01 03:00", "11-01 06:30"),
        (NY, "sun 00:00-24:00", "11-01 00:00", "11-01 04:00", "11-02 05:00"),  # 25 hours
        # Berlin, 29 March, 01:00 UTC: 02:00 becomes 03:00.
        (BERLIN, "sat 22:00-06:00", "03-28 12:00", "03-28 21:00", "03-29 04:00"),  # 7 hours
        (BERLIN, "sun 02:00-04:00", "03-28 12:00", "03-29 01:00", "03-29 02:00"),
        (BERLIN, "sun 02:15-02:45", "03-28 12:00", "04-05 00:15", "04-05 00:45"),
        (BERLIN, "daily 02:15-02:45", "03-28 12:00", "03-30 00:15", "03-30 00:45"),
        # Berlin, 25 October, 01:00 UTC: 03:00 becomes 02:00.
        (BERLIN, "sat 22:00-06:00", "10-24 12:00", "10-24 20:00", "10-25 05:00"),  # 9 hours
        (BERLIN, "sun 02:00-03:00", "10-24 12:00", "10-25 00:00", "10-25 02:00"),
        (BERLIN, "sun 02:30-02:40", "10-24 12:00", "10-25 00:30", "10-25 01:40"),
        (BERLIN, "sun 01:00-02:00", "10-24 12:00", "10-24 23:00", "10-25 00:00"),
        # Lord Howe, 5 April, 15:00 UTC of the day before: 02:00 becomes 01:30.
        (LORD_HOWE, "sun 01:30-02:00", "04-04 12:00", "04-04 14:30", "04-04 15:30"),
        (LORD_HOWE, "sun 01:45-01:50", "04-04 12:00", "04-04 14:45", "04-04 15:20"),
        (LORD_HOWE, "sun 01:00-01:30", "04-04 12:00", "04-04 14:00", "04-04 14:30"),
        (LORD_HOWE, "sat 23:00-02:30", "04-04 11:00", "04-04 12:00", "04-04 16:00"),
        # Lord Howe, 4 October, 15:30 UTC of the day before: 02:00 becomes 02:30.
        (LORD_HOWE, "sun 02:00-02:30", "10-03 12:00", "10-10 15:00", "10-10 15:30"),
        (LORD_HOWE, "sun 02:15-03:00", "10-03 12:00", "10-03 15:30", "10-03 16:00"),
        (LORD_HOWE, "sat 23:00-02:10", "10-03 12:00", "10-03 12:30", "10-03 15:30"),
        # Clocks that change at midnight, forth and back; and a day that was left out.
        ("America/Havana", "sat 23:00-00:30", "03-08 00:00", "03-08 04:00", "03-08 05:00"),
        ("America/Havana", "sat 23:00-00:30", "10-31 12:00", "11-01 03:00", "11-01 05:30"),
        ("America/Santiago", "sat 23:30-00:30", "04-04 12:00", "04-05 02:30", "04-05 04:30"),
        ("Pacific/Apia", "fri 00:00-24:00", "2011-12-25 00:00", "2012-01-05 10:00", "2012-01-06 10:00"),
        ("Pacific/Apia", "thu 22:00-06:00", "2011-12-25 00:00", "2011-12-30 08:00", "2011-12-30 10:00"),
    ],
)
def test_when_a_window_begins_and_ends(zone: str, window: str, asked: str, start: str, end: str) -> None:
    freezes = pool(weekly(window, zone))
    before = deciding.decide(freezes, at(asked))
    assert (before.frozen, before.until, before.next_change) == (False, None, at(start))
    during = deciding.decide(freezes, at(start))
    assert (during.frozen, during.until, during.next_change) == (True, at(end), at(end))
    assert deciding.decide(freezes, at(end) - 1).until == at(end)
    assert not deciding.decide(freezes, at(start) - 1).frozen
    assert not deciding.decide(freezes, at(end)).frozen


@pytest.mark.parametrize(
    ("window", "frozen", "open_"),
    [
        # docs/failures.md, 34: an overnight window belongs to the day it starts on. 16 November is a Monday.
        (
            "mon 23:00-02:00",
            ["11-16 23:00", "11-17 01:59"],
            ["11-16 01:00", "11-16 22:59", "11-17 02:00", "11-17 23:30"],
        ),
        (
            "sun 23:00-02:00",
            ["11-15 23:00", "11-16 01:59", "11-22 23:30"],
            ["11-15 01:00", "11-16 02:00", "11-16 23:30"],
        ),
        ("mon-fri 23:00-02:00", ["11-21 01:00", "11-16 23:30"], ["11-16 01:00", "11-21 23:30", "11-22 01:00"]),
        ("sat,sun 00:00-24:00", ["11-21 00:00", "11-22 12:00", "11-22 23:59"], ["11-20 23:59", "11-23 00:00"]),
        ("fri-mon 12:00-13:00", ["11-20 12:00", "11-22 12:59", "11-23 12:30"], ["11-19 12:30", "11-24 12:30"]),
        ("sun-mon 18:00-00:00", ["11-22 23:59", "11-23 18:00"], ["11-23 00:00", "11-24 00:00", "11-24 18:00"]),
        ("thu 12:01-12:00", ["11-19 12:01", "11-20 11:59"], ["11-19 12:00", "11-20 12:00"]),
    ],
)
def test_the_edges_of_a_week(window: str, frozen: list[str], open_: list[str]) -> None:
    freezes = pool(weekly(window))
    assert [deciding.decide(freezes, at(moment)).frozen for moment in frozen] == [True] * len(frozen)
    assert [deciding.decide(freezes, at(moment)).frozen for moment in open_] == [False] * len(open_)


def test_a_clock_that_is_set_back_over_midnight() -> None:
    """Newfoundland, 7 November 2010: 00:01 became 23:01 of the day before, in the middle of a window."""
    freezes = pool(weekly("fri 23:45-23:30", "America/St_Johns"))
    decision = deciding.decide(freezes, at("2010-11-07 02:30:30"))  # 00:00:30 of Sunday, for the first time
    assert decision.until == at("2010-11-07 03:00")


def test_the_weekday_is_that_of_the_zone() -> None:
    freezes = pool(weekly("mon 08:00-09:00", "Pacific/Auckland"))  # where it is Sunday in UTC
    assert deciding.preview(freezes, at("11-14 00:00"), at("11-21 00:00"))[0].start == at("11-15 19:00")


NIGHTS, WEEKEND = weekly("daily 22:00-06:00", name="nights"), weekly("sat,sun 00:00-24:00", name="weekend")
BROKEN = Unreadable(name="broken", why="nonsense")


@pytest.mark.parametrize(
    ("windows", "asked", "until", "why"),
    [
        ((NIGHTS,), "11-20 23:00", "11-21 06:00", ["nights"]),
        ((NIGHTS, WEEKEND), "11-20 23:00", "11-23 06:00", ["nights", "weekend"]),  # over each other to Monday
        ((NIGHTS, WEEKEND), "11-22 12:00", "11-23 06:00", ["weekend", "nights"]),
        ((WEEKEND, weekly("mon 00:00-01:00", name="next")), "11-21 00:00", "11-23 01:00", ["weekend", "next"]),
        ((NIGHTS, weekly("daily 23:00-01:00", name="within")), "11-19 23:30", "11-20 06:00", ["nights", "within"]),
        ((NIGHTS, weekly("daily 06:01-07:00", name="later")), "11-20 05:00", "11-20 06:00", ["nights"]),
        ((NIGHTS, once("11-20 06:00", "11-20 12:00")), "11-20 05:00", "11-20 12:00", ["nights", "once"]),
        ((once("11-20 01:00", "11-20 12:00"), NIGHTS), "11-20 02:00", "11-20 12:00", ["once", "nights"]),
        ((NIGHTS, once("2026-11-20 06:00", "2029-11-20 12:00")), "11-20 05:00", "2029-11-20 12:00", ["nights", "once"]),
        ((once("11-20 01:00", "11-20 12:00"), once("11-20 12:00", "11-20 13:00", "two")), "11-20 02:00", "11-20 13:00",
         ["once", "two"]),
        # By the clocks of two zones: 22-06 in Berlin is followed by 00-09 in New York.
        ((weekly("daily 22:00-06:00", BERLIN, "b"), weekly("daily 00:00-09:00", NY, "n")), "11-19 22:00", "11-20 14:00",
         ["b", "n"]),
        ((NIGHTS, BROKEN), "11-20 12:00", None, ["broken"]),
        ((NIGHTS, BROKEN), "11-20 23:00", None, ["nights", "broken"]),
    ],
)  # fmt: skip
def test_overlapping_and_adjacent_windows_are_one(
    windows: tuple[Window, ...], asked: str, until: str | None, why: list[str]
) -> None:
    decision = deciding.decide(pool(*windows), at(asked))
    assert decision.frozen
    assert decision.until == (until and at(until))
    assert names(decision) == why
    assert deciding.first_open(pool(*windows), at(asked)) == decision.until


@pytest.mark.parametrize(
    "windows",
    [
        (weekly("daily 00:00-24:00", BERLIN),),
        (weekly("daily 05:00-23:00", NY), weekly("daily 22:00-06:00", NY, "nights"), weekly("mon 01:00-02:00", BERLIN)),
        (weekly("mon-fri 07:00-06:59", "UTC"), weekly("daily 06:00-07:30", "UTC"),
         weekly("sat,sun 00:00-24:00", "UTC"), weekly("mon 00:00-07:00", "UTC")),
    ],
)  # fmt: skip
def test_windows_without_a_hole_have_no_end(windows: tuple[Window, ...]) -> None:
    for asked in ("11-22 12:00", "03-29 00:59", "10-25 00:59"):
        decision = deciding.decide(pool(*windows), at(asked))
        assert decision.frozen
        assert decision.next_change is None
    assert deciding.first_open(pool(*windows), at("11-22 12:00")) is None
    later = pool(*windows, once("11-22 00:00", "11-25 00:00"))
    assert deciding.decide(later, at("11-22 12:00")).until is None


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["daily 00:00-24:00"], True),
        (["daily 12:00-11:59"], False),
        (["daily 12:00-11:59", "daily 11:58-12:00"], True),
        (["mon-sat 00:00-24:00"], False),
        (["mon-sat 00:00-24:00", "sun 00:00-12:00", "sun 12:00-00:00"], True),  # the last one ends on Monday
        (["tue-sun 00:00-24:00", "sun 23:00-22:59", "mon 22:00-23:00"], False),  # 23:00-24:00 on Monday
        ([], False),
    ],
)
def test_windows_that_leave_no_hole(texts: list[str], expected: bool) -> None:
    assert spans.leaves_no_hole(weekly(text) for text in texts) is expected


def test_a_hole_that_only_summer_opens_is_found() -> None:
    """Two zones meet without a hole while both have the same distance; in March they have another for three weeks."""
    freezes = pool(weekly("daily 00:00-12:00", BERLIN), weekly("daily 06:00-18:00", NY, "n"))
    winter = deciding.decide(freezes, at("01-10 12:00"))
    assert winter.until == at("03-08 22:00")
    assert not deciding.decide(freezes, at("03-08 22:30")).frozen
    assert deciding.preview(freezes, at("01-10 12:00"), at("03-10 00:00"))[0].end == at("03-08 22:00")


def by_hand(until: str | None = None) -> Manual:
    return Manual(since=at("11-18 10:00"), until=until and at(until), reason="incident 42", by="alice")


@pytest.mark.parametrize(
    ("until", "asked", "frozen", "change"),
    [
        (None, "11-18 09:00", False, "11-18 10:00"),
        (None, "11-18 10:00", True, None),
        (None, "2027-11-18 10:00", True, None),
        ("11-18 20:00", "11-18 12:00", True, "11-18 20:00"),
        ("11-18 20:00", "11-18 20:00", False, "11-18 22:00"),
        ("11-18 22:00", "11-18 12:00", True, "11-19 06:00"),  # goes over into the night
        ("11-19 01:00", "11-18 12:00", True, "11-19 06:00"),
        ("11-19 08:00", "11-19 02:00", True, "11-19 08:00"),
    ],
)
def test_a_freeze_by_hand(until: str | None, asked: str, frozen: bool, change: str | None) -> None:
    decision = deciding.decide(pool(NIGHTS, manual=by_hand(until)), at(asked))
    assert decision.frozen is frozen
    assert decision.next_change == (change and at(change))


def lifted(since: str, until: str) -> Bypass:
    return Bypass(since=at(since), until=at(until), reason="hotfix", by="bob")


@pytest.mark.parametrize(
    ("freezes", "bypass", "asked", "frozen", "change"),
    [
        # In a night (22:00-06:00).
        (pool(NIGHTS), lifted("11-18 23:00", "11-19 01:00"), "11-18 22:30", True, "11-18 23:00"),
        (pool(NIGHTS), lifted("11-18 23:00", "11-19 01:00"), "11-18 23:00", False, "11-19 01:00"),
        (pool(NIGHTS), lifted("11-18 23:00", "11-19 01:00"), "11-19 01:00", True, "11-19 06:00"),
        # Past the end of the night, and over the beginning of one, and over a whole one.
        (pool(NIGHTS), lifted("11-18 23:00", "11-19 08:00"), "11-18 23:00", False, "11-19 22:00"),
        (pool(NIGHTS), lifted("11-18 20:00", "11-18 23:00"), "11-18 12:00", False, "11-18 23:00"),
        (pool(NIGHTS), lifted("11-18 20:00", "11-18 23:00"), "11-18 21:00", False, "11-18 23:00"),
        (pool(NIGHTS), lifted("11-18 20:00", "11-19 08:00"), "11-18 12:00", False, "11-19 22:00"),
        (pool(NIGHTS), lifted("11-18 20:00", "11-19 06:00"), "11-18 20:00", False, "11-19 22:00"),
        # It lifts whatever freezes.
        (pool(NIGHTS, manual=by_hand()), lifted("11-18 23:00", "11-19 01:00"), "11-18 23:30", False, "11-19 01:00"),
        (pool(BROKEN), lifted("11-18 23:00", "11-19 01:00"), "11-18 23:30", False, "11-19 01:00"),
        (pool(BROKEN), lifted("11-18 23:00", "11-19 01:00"), "11-18 22:30", True, "11-18 23:00"),
        (pool(BROKEN), lifted("11-18 23:00", "11-19 01:00"), "11-19 01:00", True, None),
        (pool(once("11-18 00:00", "11-20 00:00")), lifted("11-18 23:00", "11-21 00:00"), "11-19 12:00", False, None),
        (pool(), lifted("11-18 23:00", "11-19 01:00"), "11-18 23:30", False, None),
        # One that is over, or was never, does nothing.
        (pool(NIGHTS), lifted("11-18 12:00", "11-18 23:00"), "11-18 23:00", True, "11-19 06:00"),
        (pool(NIGHTS), lifted("11-18 23:30", "11-18 23:30"), "11-18 23:00", True, "11-19 06:00"),
        (pool(NIGHTS), lifted("11-18 12:00", "11-18 12:00"), "11-18 12:00", False, "11-18 22:00"),
    ],
)
def test_a_bypass_lifts_everything_until_its_end(
    freezes: Freezes, bypass: Bypass, asked: str, frozen: bool, change: str | None
) -> None:
    freezes = Freezes(windows=freezes.windows, manual=freezes.manual, bypass=bypass)
    decision = deciding.decide(freezes, at(asked))
    assert decision.frozen is frozen
    assert decision.next_change == (change and at(change))
    assert decision.bypass == (bypass if bypass.since <= at(asked) < bypass.until else None)


def test_what_a_bypass_lifts_before_it_begins_is_not_named() -> None:
    windows = (NIGHTS, weekly("daily 06:00-08:00", name="mornings"))
    assert names(deciding.decide(pool(*windows), at("11-19 00:00"))) == ["nights", "mornings"]
    bypass = lifted("11-19 05:00", "11-19 07:00")
    assert names(deciding.decide(pool(*windows, bypass=bypass), at("11-19 00:00"))) == ["nights"]


def test_what_will_freeze_it_first_is_named() -> None:
    windows = (weekly("daily 23:00-01:00", name="later"), NIGHTS, once("11-18 22:00", "11-18 23:00"))
    assert names(deciding.decide(pool(*windows), at("11-18 12:00"))) == ["nights", "once"]
    bypass = lifted("11-18 12:00", "11-19 00:00")
    assert names(deciding.decide(pool(*windows, bypass=bypass), at("11-18 12:00"))) == ["later", "nights"]


def test_a_pool_without_freezes() -> None:
    decision = deciding.decide(pool(), at("11-18 12:00"))
    assert (decision.frozen, decision.until, decision.next_change, decision.spans) == (False, None, None, ())
    assert deciding.preview(pool(), at("11-18 12:00"), at("11-25 12:00")) == ()
    assert deciding.first_open(pool(), at("11-18 12:00")) == at("11-18 12:00")


def test_the_days_to_come() -> None:
    start = at("11-19 23:00")
    bypass = lifted("11-19 12:00", "11-20 01:00")
    found = deciding.preview(pool(NIGHTS, WEEKEND, bypass=bypass), start, start + 4 * DAY)
    assert [(interval.start, interval.end) for interval in found] == [
        (at("11-20 01:00"), at("11-20 06:00")),
        (at("11-20 22:00"), at("11-23 06:00")),
        (at("11-23 22:00"), at("11-24 06:00")),  # its true end, behind the four days
    ]
    assert [[span.source for span in interval.spans] for interval in found] == [[NIGHTS], [NIGHTS, WEEKEND], [NIGHTS]]


def test_what_is_frozen_already_begins_where_the_preview_does() -> None:
    asked = at("11-20 02:00")
    (found,) = deciding.preview(pool(NIGHTS), asked, asked + HOUR)
    assert (found.start, found.end) == (asked, at("11-20 06:00"))
    (found,) = deciding.preview(pool(NIGHTS, BROKEN), asked, asked + 7 * DAY)
    assert (found.start, found.end) == (asked, None)
