"""Freezes as people write them, and as they are stored. What cannot be meant is refused when it is written."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping

from iacq.domain import workspace
from iacq.domain.freeze import zones
from iacq.domain.freeze.windows import DAY_MINUTES, DAYS, Bypass, Manual, OneOff, Recurring, Unreadable, Window
from iacq.errors import InvalidInput

FIRST_YEAR, LAST_YEAR = 2000, 2199
"""Other dates are taken for a mistake; and arithmetic with these never meets the ends of the calendar."""
MAX_REASON = 500

_FULL_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NUMBER_OF = {name: number for names in (DAYS, _FULL_NAMES) for number, name in enumerate(names)}
_END_OF_DATES = zones.moment(dt.datetime(LAST_YEAR + 2, 1, 1, tzinfo=dt.UTC))
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):[0-5][0-9]|24:00")
_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_FROM_NOW = re.compile(r"([0-9]{1,6})\s?([smhd])")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{3})?)?(Z|[+-][0-9]{2}:[0-9]{2})?"
)


def parse_recurring(*, name: str, days: str, start: str, end: str, zone: str) -> Recurring:
    """Read a weekly window: days (`mon-fri`, `sat,sun`, `daily`), two times (`23:00`), an IANA zone.

    With `end` before `start` it ends on the day after; `24:00` is the end of a day. Raises InvalidInput.
    """
    window = Recurring(
        name=workspace.check_name(name, field="--name"),
        days=_parse_days(days),
        start=_parse_clock(start, field="--from"),
        end=_parse_clock(end, field="--to"),
        zone=zones.load(zone).key,
    )
    if window.start == DAY_MINUTES:
        raise InvalidInput("a window cannot start at 24:00", field="--from", hint="write 00:00, and the day after")
    if window.start == window.end:
        raise InvalidInput(
            f"the window would start and end at {start}", field="--to", hint="a whole day is --from 00:00 --to 24:00"
        )
    return window


def parse_one_off(*, name: str, at: str, until: str, zone: str, now: int) -> OneOff:
    """Read a window that occurs once, from `at` to `until`, as `parse_moment` reads them. Raises InvalidInput."""
    window = OneOff(
        name=workspace.check_name(name, field="--name"),
        at=parse_moment(at, zone=zone, field="--at"),
        until=parse_moment(until, zone=zone, field="--until", ends=True),
        zone=zones.load(zone).key,
    )
    if window.until <= window.at:
        raise InvalidInput(f"--until {until} is not after --at {at}", field="--until", hint="give a later end")
    _check_future(window.until, now)
    return window


def parse_moment(text: str, *, zone: str, field: str, ends: bool = False) -> int:
    """Read a date and time as ms; one without an offset is by the clocks of `zone`. Raises InvalidInput.

    ends: of a time that occurs twice because the clock is set back, the second is meant, so that what ends then
    covers both.
    """
    place = zones.load(zone)
    if not _MOMENT.fullmatch(text):
        raise _not_a_moment(text, field)
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError as error:  # the 30th of February
        raise _not_a_moment(text, field) from error
    if not FIRST_YEAR <= when.year <= LAST_YEAR:
        raise InvalidInput(
            f"{field} {text} is not in the years {FIRST_YEAR} to {LAST_YEAR}", field=field, hint="check the year"
        )
    if when.tzinfo is not None:
        return zones.moment(when)
    return zones.last_before(when, place) if ends else zones.first_showing(when, place)


def parse_until(text: str, *, zone: str, now: int) -> int:
    """Read until when: `2h` from now on, or what `parse_moment` reads; returns ms. Raises InvalidInput."""
    from_now = _FROM_NOW.fullmatch(text)
    if from_now is None and not _MOMENT.fullmatch(text):
        raise _not_a_moment(text, "--until", from_now=True)
    if from_now is None:
        return parse_moment(text, zone=zone, field="--until", ends=True)
    end = now + int(from_now[1]) * _UNITS_MS[from_now[2]]
    if end >= _END_OF_DATES:
        raise InvalidInput(f"--until {text} is after the year {LAST_YEAR}", field="--until", hint="give an earlier end")
    return end


def make_manual(*, until: int | None, reason: str, by: str, now: int) -> Manual:
    """Freeze from `now` on. until: ms of `parse_until`, None: until it is lifted. Raises InvalidInput."""
    if until is not None:
        _check_future(until, now)
    return Manual(since=now, until=until, reason=check_reason(reason), by=by)


def make_bypass(*, until: int, reason: str, by: str, now: int) -> Bypass:
    """Lift every freeze from `now` to `until`, ms of `parse_until`. Raises InvalidInput."""
    _check_future(until, now)
    return Bypass(since=now, until=until, reason=check_reason(reason), by=by)


def restore(stored: Mapping[str, object]) -> Window:
    """Read what `windows.store` returned; columns of the other kind of window are missing or None. Never raises."""
    found = {key: value for key, value in stored.items() if value is not None}
    try:
        return _restored(found)
    except InvalidInput as error:
        name = found.get("name")
        readable = isinstance(name, str) and workspace.NAME.fullmatch(name)
        return Unreadable(name=str(name) if readable else ascii(name)[:50], why=error.message)


def _restored(found: Mapping[str, object]) -> Window:
    match found:
        case {"name": str(name), "days": str(days), "from": str(start), "to": str(end), "zone": str(zone), **rest}:
            if not rest:
                return parse_recurring(name=name, days=days, start=start, end=end, zone=zone)
        case {"name": str(name), "at": int(at), "until": int(until), "zone": str(zone), **rest}:
            if not rest and 0 < at < until < _END_OF_DATES:
                workspace.check_name(name)
                return OneOff(name=name, at=at, until=until, zone=zones.load(zone).key)
    raise InvalidInput(f"these columns make no window: {ascii(dict(found))[:200]}")


def _parse_days(text: str) -> frozenset[int]:
    words = text.lower().replace(" ", "")
    if words == "daily":
        return frozenset(range(len(DAYS)))
    return frozenset(day for part in words.split(",") for day in _parse_stretch(part))


def _parse_stretch(text: str) -> list[int]:
    names = text.split("-")
    for name in names:
        if name not in _NUMBER_OF:
            raise InvalidInput(
                f"{name[:40]!a} is not a day of the week",
                field="--days",
                hint="write mon-fri, or sat,sun, or daily; the days are " + ", ".join(DAYS),
            )
    if len(names) == 1:
        return [_NUMBER_OF[text]]
    first, last = _NUMBER_OF[names[0]], _NUMBER_OF[names[-1]]
    if len(names) > 2 or first == last:
        raise InvalidInput(
            f"{text[:40]!a} is not a stretch of days", field="--days", hint="write one day, or mon-fri, or daily"
        )
    return [day % 7 for day in range(first, last + 1 if first < last else last + 8)]


def _parse_clock(text: str, *, field: str) -> int:
    if not _CLOCK.fullmatch(text):
        raise InvalidInput(
            f"{text[:40]!a} is not a time of day", field=field, hint="write hours and minutes, 00:00 to 24:00"
        )
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _not_a_moment(text: str, field: str, *, from_now: bool = False) -> InvalidInput:
    return InvalidInput(
        f"{text[:40]!a} is not a date and time",
        field=field,
        hint="write 2026-12-24 18:00 (by the clocks of --tz), or 2026-12-24T18:00Z, or 2026-12-24T18:00+01:00"
        + (", or 2h from now on" if from_now else ""),
    )


def _check_future(until: int, now: int) -> None:
    if until <= now:
        raise InvalidInput("--until is over already", field="--until", hint="give a moment that is to come")


def check_reason(reason: str) -> str:
    """Return a reason without blanks around it. Raises InvalidInput if it says nothing, or too much."""
    reason = reason.strip()
    if not 1 <= len(reason) <= MAX_REASON:
        raise InvalidInput(
            "a reason is missing" if not reason else f"the reason has more than {MAX_REASON} characters",
            field="--reason",
            hint="say why in a sentence: it is shown to whoever waits, and kept",
        )
    return reason
