"""From when until when something freezes.

A weekly window starts on each of its days when the clock of its zone first shows `from` or later, and ends when the
clock will not show less than `to` any more: on the same day, or on the following one where `to` is not after `from`.
So, when clocks change:

- a boundary that the clock skips lies at the moment of the change; a window that is skipped whole does not occur;
- of a boundary that occurs twice, the first one starts and the second one ends the window. What lies between is
  frozen, though the clock shows `to` or later for a while: a freeze never opens for an hour in its middle.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from iacq.domain.freeze import zones
from iacq.domain.freeze.windows import DAY_MINUTES, Manual, OneOff, Recurring, Source

_DAY = dt.timedelta(days=1)
_WEEK_MINUTES = 7 * DAY_MINUTES


@dataclass(frozen=True, kw_only=True)
class Span:
    """One stretch of time that one source freezes: [start, end), in ms."""

    start: int
    end: int | None  # None: no end
    source: Source


def span_after(source: Source, moment: int) -> Span | None:
    """Return the first span that ends after `moment`, begun or to come; None: there is none any more."""
    match source:
        case Recurring():
            return _occurrence_after(source, moment)
        case OneOff(at=at, until=until) if until > moment:
            return Span(start=at, end=until, source=source)
        case Manual(since=since, until=end) if end is None or end > moment:
            return Span(start=since, end=end, source=source)
        case OneOff() | Manual():
            return None
        case _:  # Unreadable, and whatever else may come: never "not frozen"
            return Span(start=0, end=None, source=source)


def leaves_no_hole(windows: Iterable[Recurring]) -> bool:
    """Tell whether windows of one zone cover every minute of the week. Then clock changes open no hole either."""
    minutes = bytearray(2 * _WEEK_MINUTES)
    for window in windows:
        length = (window.end - window.start) % DAY_MINUTES or DAY_MINUTES
        for day in window.days:
            start = day * DAY_MINUTES + window.start
            minutes[start : start + length] = b"\1" * length
    return all(early or late for early, late in zip(minutes[:_WEEK_MINUTES], minutes[_WEEK_MINUTES:], strict=True))


def _occurrence_after(window: Recurring, moment: int) -> Span:
    wall = zones.local(moment, ZoneInfo(window.zone))
    # What began the day before may last; a clock that is set back over midnight shows one day more.
    day = wall.date() - 2 * _DAY
    while True:  # a window whose hours are skipped whole occurs in the week after
        if day.weekday() in window.days:
            start, end = _bounds(window, day)
            if moment < end and start < end:
                return Span(start=start, end=end, source=window)
        day += _DAY


@functools.lru_cache(maxsize=8192)
def _bounds(window: Recurring, day: dt.date) -> tuple[int, int]:
    zone = ZoneInfo(window.zone)
    midnight = dt.datetime.combine(day, dt.time())
    last_midnight = midnight + _DAY if window.overnight else midnight
    return (
        zones.first_showing(midnight + dt.timedelta(minutes=window.start), zone),
        zones.last_before(last_midnight + dt.timedelta(minutes=window.end), zone),
    )
