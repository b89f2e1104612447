"""Freeze windows for tests: moments are written in UTC, without the year where it is 2026."""

import datetime as dt
from typing import Any

from iacq.domain.freeze import writing, zones
from iacq.domain.freeze.windows import Freezes, OneOff, Recurring, Window

HOUR = 3_600_000
DAY = 24 * HOUR


def at(text: str) -> int:
    """`03-08 07:00`, or with its year."""
    when = dt.datetime.fromisoformat(text if text[4] == "-" else f"2026-{text}")
    return zones.moment(when.replace(tzinfo=dt.UTC))


def weekly(text: str, zone: str = "UTC", name: str = "w") -> Recurring:
    """`mon-fri 23:00-02:00`."""
    days, _, hours = text.rpartition(" ")
    start, end = hours.split("-")
    return writing.parse_recurring(name=name, days=days, start=start, end=end, zone=zone)


def once(start: str, end: str, name: str = "once") -> OneOff:
    return OneOff(name=name, at=at(start), until=at(end), zone="UTC")


def pool(*windows: Window, **others: Any) -> Freezes:
    return Freezes(windows=windows, **others)
