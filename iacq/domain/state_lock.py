"""The lock of a backend that an apply met, as terraform's error names it, and whose it is."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass

from iacq.domain.run import Run

_HELD = "Error acquiring the state lock"
_FIELD = re.compile(r"^\s*(ID|Who|Created):[ \t]*(.*?)\s*$", re.MULTILINE)
_OTHER = re.compile(r"already locked: ID=(\S+)")
_CREATED = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d+))? \+0000 UTC")

_BEFORE_MS = 5_000
"""Clocks of the database and of the machine where terraform ran may differ by this much."""
_AFTER_MS = 60_000
"""terraform takes the lock at its start: a lock that is younger than this was not taken by that apply."""


@dataclass(frozen=True, kw_only=True)
class StateLock:
    """What is known of a lock."""

    id: str
    who: str | None  # user@host; None: the backend does not say
    created_at: int | None  # ms since the epoch; None: the backend does not say


def parse(error: str) -> StateLock | None:
    """Read the lock that terraform's error names; None: the error is about something else, or names none."""
    if _HELD not in error:
        return None
    found: dict[str, str] = dict(_FIELD.findall(error))
    other = _OTHER.search(error)
    if other is not None and other[1] != found.get("ID"):
        # The http backend: what it prints as lock info is that of the lock that it did not get.
        return StateLock(id=other[1], who=None, created_at=None)
    if not found.get("ID"):
        return None
    return StateLock(id=found["ID"], who=found.get("Who"), created_at=_read_time(found.get("Created", "")))


def _read_time(text: str) -> int | None:
    match = _CREATED.match(text)
    if match is None:
        return None
    moment = dt.datetime.fromisoformat(f"{match[1]}T{match[2]}+00:00")
    return int(moment.timestamp() * 1000) + int((match[3] or "0")[:3].ljust(3, "0"))


def taken_by(lock: StateLock, applies: Iterable[Run]) -> Run | None:
    """Return the run whose apply took this lock: one that started just before the lock was made."""
    if lock.created_at is None:
        return None
    for run in applies:
        if run.effects_at is not None and -_BEFORE_MS <= lock.created_at - run.effects_at <= _AFTER_MS:
            return run
    return None
