"""Moments (ms since the epoch) and what a clock on the wall shows, on days of daylight-saving changes too."""

from __future__ import annotations

import datetime as dt
import difflib
import re
import zoneinfo
from zoneinfo import ZoneInfo

from iacq.errors import InvalidInput

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MS = dt.timedelta(milliseconds=1)
_NO_PLACE = re.compile(r"(posix|right)/.*|localtime|posixrules|Factory", re.DOTALL)
"""In the database, but no zone to name: with leap seconds, or whatever a machine was set to."""


def load(name: str, *, field: str = "--tz") -> ZoneInfo:
    """Return the zone with this IANA name. Raises InvalidInput."""
    if not _NO_PLACE.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, LookupError):  # a path, a directory, no such zone
            pass
    shown = ascii(name if len(name) <= 40 else name[:37] + "...")
    raise InvalidInput(f"{shown} is not a time zone", field=field, hint=_suggestion(name))


def _suggestion(name: str) -> str:
    names = sorted(zoneinfo.available_timezones())
    if not names:
        return "this machine has no time zone database: install the Python package tzdata"
    known = {name.lower().rpartition("/")[2]: name for name in names} | {name.lower(): name for name in names}
    near = difflib.get_close_matches(name[:40].lower().replace(" ", "_"), known, n=1)
    example = f"did you mean {known[near[0]]}?" if near else "for example Europe/Berlin or UTC"
    return f"use a name of the IANA time zone database; {example}"


def local(moment: int, zone: ZoneInfo) -> dt.datetime:
    """Return what the clock shows at `moment`, aware of its zone."""
    return (_EPOCH + moment * _MS).astimezone(zone)


def moment(when: dt.datetime) -> int:
    """Return the ms of an aware time."""
    return (when - _EPOCH) // _MS


def first_showing(wall: dt.datetime, zone: ZoneInfo) -> int:
    """Return the first moment at which the clock shows `wall` (naive), or later.

    A time that occurs twice: the first. One that the clock skips: the moment of the change.
    """
    early, late = _readings(wall, zone)
    return early if early <= late else _change_between(late, early, zone)


def last_before(wall: dt.datetime, zone: ZoneInfo) -> int:
    """Return the end of the time in which the clock shows less than `wall` (naive).

    A time that occurs twice: the second. One that the clock skips: the moment of the change.
    """
    early, late = _readings(wall, zone)
    if early > late:
        return _change_between(late, early, zone)
    if early < late and local(late - 1, zone).replace(tzinfo=None) >= wall:
        return early  # the clock is set back to exactly `wall`: it shows no less after the first time
    return late


def occurs_twice(when: dt.datetime) -> bool:
    """Tell whether the clock shows this (aware) time before and after it is set back."""
    return when.replace(fold=0).utcoffset() != when.replace(fold=1).utcoffset()


def _readings(wall: dt.datetime, zone: ZoneInfo) -> tuple[int, int]:
    """Read `wall` by the offset before, and by that after a change. The same for most; reversed where it is skipped."""
    return moment(wall.replace(tzinfo=zone, fold=0)), moment(wall.replace(tzinfo=zone, fold=1))


def _change_between(before: int, after: int, zone: ZoneInfo) -> int:
    """Find the one change of the offset in (before, after]."""
    offset = local(before, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if local(middle, zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
