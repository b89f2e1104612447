"""What freezes a pool, and what lifts it. Moments are ms since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60


@dataclass(frozen=True, kw_only=True)
class Recurring:
    """A window of every week, by the clocks of one zone. Made by `writing.parse_recurring`."""

    name: str
    days: frozenset[int]  # on which it starts; 0: Monday
    start: int  # minutes after midnight, 0..1439
    end: int  # minutes after midnight, 1..1440 or, up to `start`, 0..1439 of the following day
    zone: str  # IANA name

    @property
    def overnight(self) -> bool:
        """Tell whether it ends on the day after it started."""
        return self.end < self.start


@dataclass(frozen=True, kw_only=True)
class OneOff:
    """A window that occurs once. Made by `writing.parse_one_off`."""

    name: str
    at: int
    until: int  # the first moment that it does not freeze
    zone: str  # IANA name, to show its times in


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A stored window that means nothing: it freezes until it is written anew."""

    name: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Manual:
    """Frozen by hand."""

    since: int
    until: int | None  # None: until somebody lifts it
    reason: str
    by: str


@dataclass(frozen=True, kw_only=True)
class Bypass:
    """Lifts everything in [since, until), whatever freezes."""

    since: int
    until: int
    reason: str
    by: str


Window = Recurring | OneOff | Unreadable
Source = Window | Manual


@dataclass(frozen=True, kw_only=True)
class Freezes:
    """All that a pool keeps about freezes."""

    windows: tuple[Window, ...] = ()
    manual: Manual | None = None
    bypass: Bypass | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """What freezes it, were there no bypass."""
        return (*self.windows, self.manual) if self.manual else self.windows


def days_text(days: frozenset[int]) -> str:
    """Write days as people do: `daily`, `mon-fri`, `sat,sun`."""
    if len(days) == len(DAYS):
        return "daily"
    stretches: list[list[int]] = []
    for day in sorted(days):
        if stretches and stretches[-1][-1] == day - 1:
            stretches[-1].append(day)
        else:
            stretches.append([day])
    return ",".join(
        f"{DAYS[days[0]]}-{DAYS[days[-1]]}" if len(days) > 2 else ",".join(DAYS[day] for day in days)
        for days in stretches
    )


def clock_text(minutes: int) -> str:
    """Write minutes after midnight as `23:00`; the end of a day is `24:00`."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def store(window: Recurring | OneOff) -> Mapping[str, str | int]:
    """Return what to keep of a window, by column; `writing.restore` reads it."""
    if isinstance(window, OneOff):
        return {"name": window.name, "at": window.at, "until": window.until, "zone": window.zone}
    return {
        "name": window.name,
        "days": days_text(window.days),
        "from": clock_text(window.start),
        "to": clock_text(window.end),
        "zone": window.zone,
    }
