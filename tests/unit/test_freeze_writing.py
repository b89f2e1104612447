import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iacq.domain.freeze import deciding, windows, writing
from iacq.domain.freeze.windows import Freezes, OneOff, Recurring, Unreadable
from iacq.errors import InvalidInput
from tests.unit.freezes import at, once, weekly

GOOD: dict[str, str] = {"name": "nights", "days": "mon-fri", "start": "23:00", "end": "02:00", "zone": "Europe/Berlin"}
ONCE: dict[str, Any] = {
    "name": "release",
    "at": "2026-12-24 18:00",
    "until": "2026-12-27 06:00",
    "zone": "Europe/Berlin",
    "now": at("12-01 00:00"),
}


@pytest.mark.parametrize(
    ("text", "days", "written"),
    [
        ("daily", {0, 1, 2, 3, 4, 5, 6}, "daily"),
        ("mon-sun", {0, 1, 2, 3, 4, 5, 6}, "daily"),
        ("tue-mon", {0, 1, 2, 3, 4, 5, 6}, "daily"),
        ("mon-fri", {0, 1, 2, 3, 4}, "mon-fri"),
        ("sat,sun", {5, 6}, "sat,sun"),
        ("sun", {6}, "sun"),
        ("fri-mon", {4, 5, 6, 0}, "mon,fri-sun"),
        ("sun-mon", {6, 0}, "mon,sun"),
        ("Monday - Wednesday, FRI", {0, 1, 2, 4}, "mon-wed,fri"),
        ("mon,mon,mon-tue", {0, 1}, "mon,tue"),
    ],
)
def test_days_as_people_write_them(text: str, days: set[int], written: str) -> None:
    window = writing.parse_recurring(**{**GOOD, "days": text})
    assert window.days == days
    assert windows.days_text(window.days) == written
    assert writing.parse_recurring(**{**GOOD, "days": written}) == window


@pytest.mark.parametrize(
    ("start", "end", "minutes", "overnight"),
    [
        ("23:00", "02:00", (1380, 120), True),
        ("9:00", "17:30", (540, 1050), False),
        ("00:00", "24:00", (0, 1440), False),
        ("18:00", "24:00", (1080, 1440), False),
        ("18:00", "00:00", (1080, 0), True),
        ("12:01", "12:00", (721, 720), True),
    ],
)
def test_times_of_day(start: str, end: str, minutes: tuple[int, int], overnight: bool) -> None:
    window = writing.parse_recurring(**{**GOOD, "start": start, "end": end})
    assert (window.start, window.end) == minutes
    assert window.overnight is overnight


@pytest.mark.parametrize(
    ("wrong", "field", "says", "hint"),
    [
        ({"zone": "Mars/Base"}, "--tz", "'Mars/Base' is not a time zone", "IANA"),
        ({"zone": "europe/berlin"}, "--tz", "time zone", "did you mean Europe/Berlin?"),
        ({"zone": "new york"}, "--tz", "time zone", "did you mean America/New_York?"),
        ({"zone": "localtime"}, "--tz", "time zone", "IANA"),
        ({"zone": "right/Europe/Berlin"}, "--tz", "time zone", "IANA"),
        ({"zone": "Europe"}, "--tz", "time zone", "IANA"),
        ({"zone": "/etc/passwd"}, "--tz", "time zone", "IANA"),
        ({"zone": "../UTC"}, "--tz", "time zone", "IANA"),
        ({"zone": "x" * 5000}, "--tz", "time zone", "IANA"),
        ({"zone": "UTC\0"}, "--tz", "time zone", "IANA"),
        ({"zone": ""}, "--tz", "time zone", "IANA"),
        ({"end": "23:00"}, "--to", "start and end at 23:00", "--from 00:00 --to 24:00"),
        ({"start": "00:00", "end": "00:00"}, "--to", "start and end at 00:00", "--from 00:00 --to 24:00"),
        ({"start": "24:00"}, "--from", "cannot start at 24:00", "00:00"),
        ({"end": "24:01"}, "--to", "'24:01' is not a time of day", "24:00"),
        ({"start": "25:00"}, "--from", "'25:00' is not a time of day", "00:00"),
        ({"start": "12:60"}, "--from", "'12:60' is not a time of day", "00:00"),
        ({"start": "12"}, "--from", "'12' is not a time of day", "hours and minutes"),
        ({"start": "12:00:00"}, "--from", "not a time of day", "hours and minutes"),
        ({"start": "\u0661\u0662:00"}, "--from", "not a time of day", "hours and minutes"),
        ({"end": ""}, "--to", "'' is not a time of day", "hours and minutes"),
        ({"days": "mo-fr"}, "--days", "'mo' is not a day of the week", "mon, tue, wed"),
        ({"days": "mon,,tue"}, "--days", "'' is not a day of the week", "mon-fri"),
        ({"days": ""}, "--days", "'' is not a day of the week", "mon-fri"),
        ({"days": "mon-wed-fri"}, "--days", "not a stretch of days", "mon-fri"),
        ({"days": "mon-mon"}, "--days", "not a stretch of days", "one day"),
        ({"name": "a b"}, "--name", "'a b' is not a valid name", "letters"),
    ],
)
def test_a_broken_window_is_refused_when_it_is_written(wrong: dict[str, str], field: str, says: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        writing.parse_recurring(**{**GOOD, **wrong})
    assert caught.value.field == field
    assert says in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "zone", "ends", "expected"),
    [
        ("2026-12-24 18:00", "Europe/Berlin", False, "12-24 17:00"),
        ("2026-07-24T18:00:30", "Europe/Berlin", False, "07-24 16:00:30"),
        ("2026-12-24T18:00Z", "Europe/Berlin", False, "12-24 18:00"),
        ("2026-12-24 18:00-05:00", "Europe/Berlin", True, "12-24 23:00"),
        ("2026-10-25 02:30", "Europe/Berlin", False, "10-25 00:30"),  # twice: the first starts
        ("2026-10-25 02:30", "Europe/Berlin", True, "10-25 01:30"),  # and the second ends
        ("2026-03-29 02:30", "Europe/Berlin", False, "03-29 01:00"),  # skipped: the moment of the change
        ("2026-03-29 02:30", "Europe/Berlin", True, "03-29 01:00"),
    ],
)
def test_moments(text: str, zone: str, ends: bool, expected: str) -> None:
    assert writing.parse_moment(text, zone=zone, field="--at", ends=ends) == at(f"2026-{expected}")


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "2026-12-24", "18:00", "2026-02-30 10:00", "2026-12-24 24:00", "2026-W48-1", "20261224T1800",
     "2026-12-24 18:00 Europe/Berlin", "1999-12-31 23:59", "2200-01-01 00:00", "9999-12-31 23:59", "0001-01-01 00:00",
     "\uff12026-12-24 18:00"],
)  # fmt: skip
def test_what_is_not_a_moment(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        writing.parse_moment(text, zone="UTC", field="--until")
    assert caught.value.field == "--until"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", "11-18 10:01:30"),
        ("30m", "11-18 10:30"),
        ("2 h", "11-18 12:00"),
        ("3d", "11-21 10:00"),
        ("2026-11-19 08:00", "11-19 07:00"),
        ("2026-11-19T08:00Z", "11-19 08:00"),
    ],
)
def test_until_when(text: str, expected: str) -> None:
    assert writing.parse_until(text, zone="Europe/Berlin", now=at("11-18 10:00")) == at(expected)


@pytest.mark.parametrize("text", ["", "h", "-1h", "1.5h", "1h30m", "2 hours", "1000000d", "999999d", "tomorrow"])
def test_what_is_no_until(text: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        writing.parse_until(text, zone="UTC", now=at("11-18 10:00"))
    assert raised.value.field == "--until"


def test_a_window_that_occurs_once() -> None:
    window = writing.parse_one_off(**ONCE)
    assert window == OneOff(name="release", at=at("12-24 17:00"), until=at("12-27 05:00"), zone="Europe/Berlin")
    # Of times that occur twice, the first begins and the second ends it.
    window = writing.parse_one_off(**{**ONCE, "at": "2026-10-25 02:30", "until": "2026-10-25 02:40", "now": 0})
    assert (window.at, window.until) == (at("10-25 00:30"), at("10-25 01:40"))


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"until": "2026-12-24 18:00"}, "--until", "not after"),
        ({"until": "2026-12-23 18:00"}, "--until", "not after"),
        ({"now": at("12-27 05:00")}, "--until", "over already"),
        ({"at": "noon"}, "--at", "'noon' is not a date and time"),
        ({"zone": "Nowhere"}, "--tz", "'Nowhere' is not a time zone"),
        ({"name": ""}, "--name", "'' is not a valid name"),
        # Only in the hour that the clock skips: there is no such time.
        ({"at": "2027-03-28 02:10", "until": "2027-03-28 02:50"}, "--until", "not after"),
    ],
)
def test_a_broken_one_off_is_refused(wrong: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        writing.parse_one_off(**{**ONCE, **wrong})
    assert caught.value.field == field
    assert says in caught.value.message


def test_a_freeze_by_hand_and_a_bypass_have_a_reason_and_a_future() -> None:
    now = at("11-22 12:00")
    manual = writing.make_manual(until=None, reason=" incident 42 ", by="alice", now=now)
    assert (manual.since, manual.until, manual.reason, manual.by) == (now, None, "incident 42", "alice")
    bypass = writing.make_bypass(until=now + 1, reason="hotfix", by="bob", now=now)
    assert (bypass.since, bypass.until, bypass.reason, bypass.by) == (now, now + 1, "hotfix", "bob")
    for make in (writing.make_manual, writing.make_bypass):
        for until, reason, field in (
            (now, "x", "--until"),
            (now + 1, " ", "--reason"),
            (now + 1, "x" * 501, "--reason"),
        ):
            with pytest.raises(InvalidInput) as caught:
                make(until=until, reason=reason, by="alice", now=now)
            assert caught.value.field == field
            assert caught.value.hint


@pytest.mark.parametrize(
    "window",
    [weekly("mon-fri 23:00-02:00", "Europe/Berlin"), weekly("daily 00:00-24:00"), once("12-24 18:00", "12-27 06:00")],
)
def test_what_is_stored_can_be_read(window: Recurring | OneOff) -> None:
    every_column = dict.fromkeys(("name", "days", "from", "to", "at", "until", "zone"))
    assert writing.restore({**every_column, **windows.store(window)}) == window
    assert writing.restore(windows.store(window)) == window


def test_the_latest_moment_that_can_be_written_can_be_read() -> None:
    window = writing.parse_one_off(**{**ONCE, "at": "2199-12-31 23:58-12:00", "until": "2199-12-31 23:59:59.999-23:59"})
    assert writing.restore(windows.store(window)) == window


BROKEN: list[dict[str, Any]] = [
    {},
    {"name": "w"},
    {"name": "w", "days": "", "from": "23:00", "to": "02:00", "zone": "UTC"},
    {"name": "w", "days": "mon", "from": "23:00", "to": "23:00", "zone": "UTC"},
    {"name": "w", "days": "mon", "from": "23:00", "to": "25:00", "zone": "UTC"},
    {"name": "w", "days": "mon", "from": "23:00", "to": "02:00", "zone": "Mars/Base"},
    {"name": "w", "days": "mon", "from": "23:00", "to": "02:00", "zone": None},
    {"name": "w", "days": "mon", "from": 23, "to": "02:00", "zone": "UTC"},
    {"name": "w\n", "days": "mon", "from": "23:00", "to": "02:00", "zone": "UTC"},
    {"name": 7, "days": "mon", "from": "23:00", "to": "02:00", "zone": "UTC"},
    {"name": "w", "days": "mon", "from": "23:00", "to": "02:00", "zone": "UTC", "until": 5},
    {"name": "w", "at": 5, "until": 5, "zone": "UTC"},
    {"name": "w", "at": 5, "until": None, "zone": "UTC"},
    {"name": "w", "at": 5, "until": "6", "zone": "UTC"},
    {"name": "w", "at": 5, "until": 10**20, "zone": "UTC"},
    {"name": "w", "at": 5, "until": 6, "zone": "Mars/Base"},
    {"name": "w", "at": 5, "until": 6, "zone": "UTC", "extra": 1},
]


@pytest.mark.parametrize("stored", BROKEN)
def test_what_is_stored_and_cannot_be_read_freezes(stored: dict[str, Any]) -> None:
    """docs/failures.md, 36."""
    window = writing.restore(stored)
    assert isinstance(window, Unreadable)
    assert window.why
    assert "\n" not in window.name
    for freezes in (Freezes(windows=(window,)), Freezes(windows=(once("01-01 00:00", "01-02 00:00"), window))):
        decision = deciding.decide(freezes, at("11-22 12:00"))
        assert decision.frozen
        assert decision.until is None


COLUMNS = st.sampled_from(["name", "days", "from", "to", "zone", "at", "until", "other"])
TEXT = st.text("monfriday-, :0123459Z+/\u0661\ud800\n", max_size=12)
VALUES = st.none() | st.booleans() | st.integers() | TEXT | st.sampled_from(["mon", "01:00", "UTC", "w"])


@given(st.dictionaries(COLUMNS, VALUES))
def test_whatever_is_stored_is_a_window(stored: dict[str, Any]) -> None:
    window = writing.restore(stored)
    deciding.decide(Freezes(windows=(window,)), at("11-22 12:00"))


@settings(max_examples=30)  # a zone that is not known is looked for in all names
@given(TEXT, TEXT, TEXT, TEXT)
def test_whatever_is_written_is_a_window_or_refused(days: str, start: str, end: str, zone: str) -> None:
    for wrong in ({"days": days}, {"start": start}, {"end": end}, {"zone": zone}):
        with contextlib.suppress(InvalidInput):
            assert writing.parse_recurring(**{**GOOD, **wrong}).days
