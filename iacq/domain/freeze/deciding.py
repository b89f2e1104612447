"""Frozen or not: the one function that decides, and what follows from asking it again."""

from __future__ import annotations

from dataclasses import dataclass

from iacq.domain.freeze import spans
from iacq.domain.freeze.spans import Span
from iacq.domain.freeze.windows import Bypass, Freezes, Manual, OneOff, Recurring, Source

_WEEK_MS = 7 * 86_400_000
SIGHT_MS = 400 * 86_400_000
"""Weekly windows that leave no hole for so long, a year with all its clock changes, have no end."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a pool is frozen at a moment, and what comes next."""

    frozen: bool
    now: int  # ms: the moment that was asked about
    next_change: int | None  # ms: the first moment with the other answer; None: no such moment can be seen
    spans: tuple[Span, ...]  # what freezes it until then, in order; not frozen: what will freeze it then
    bypass: Bypass | None  # in force now: lifts whatever else would freeze

    @property
    def until(self) -> int | None:
        """The first moment (ms) that is not frozen; None: it is not frozen, or no end can be seen."""
        return self.next_change if self.frozen else None


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A stretch of time without a hole in which a pool is frozen."""

    start: int  # ms; not before the moment from which was asked
    end: int | None  # ms: the first moment that is not frozen; None: no end can be seen
    spans: tuple[Span, ...]  # what freezes it, in order


def decide(freezes: Freezes, now: int) -> Decision:
    """Decide whether a pool is frozen at `now` (ms), why, and when that changes by itself."""
    bypass = freezes.bypass
    if bypass is not None and bypass.since <= now < bypass.until:
        return _open(freezes, now, bypass.until, bypass=bypass)
    covering, end = _follow(freezes, now)
    if not covering:
        return _open(freezes, now, now, bypass=None)
    if bypass is not None and now < bypass.since < bypass.until and (end is None or bypass.since < end):
        end = bypass.since
    until_then = tuple(span for span in covering if end is None or span.start < end)
    return Decision(frozen=True, now=now, next_change=end, spans=until_then, bypass=None)


def preview(freezes: Freezes, start: int, end: int) -> tuple[Interval, ...]:
    """Return when the pool is frozen between `start` and `end` (ms), merged and in order.

    What is frozen at `start` begins there; what is frozen at `end` has its true end.
    """
    found = []
    now: int | None = start
    while now is not None and now < end:
        decision = decide(freezes, now)
        if decision.frozen:
            found.append(Interval(start=now, end=decision.until, spans=decision.spans))
        now = decision.next_change
    return tuple(found)


def first_open(freezes: Freezes, start: int) -> int | None:
    """Return the first moment from `start` on (ms) that is not frozen: when a run can apply; None: none can be seen."""
    decision = decide(freezes, start)
    return decision.until if decision.frozen else start


def _open(freezes: Freezes, now: int, earliest: int, *, bypass: Bypass | None) -> Decision:
    """Not frozen at `now`, nor before `earliest`."""
    ahead = _ahead(freezes, earliest)
    change = min((max(span.start, earliest) for span in ahead), default=None)
    other = freezes.bypass
    if change is not None and other is not None and other.since <= change < other.until:
        return _open(freezes, now, other.until, bypass=bypass)
    first = tuple(span for span in ahead if change is not None and span.start <= change)
    return Decision(frozen=False, now=now, next_change=change, spans=first, bypass=bypass)


def _follow(freezes: Freezes, now: int) -> tuple[tuple[Span, ...], int | None]:
    """Follow what covers `now`, then what covers its end, and so on: the first span of each source, and the end of all.

    Nothing, and `now`, where it is not frozen. The end is None where none can be seen.
    """
    horizon = _last_date(freezes, now) + SIGHT_MS
    found: dict[Source, Span] = {}
    end = now
    while end <= horizon:
        covering = [span for span in _ahead(freezes, end) if span.start <= end]
        if not covering:
            return tuple(found.values()), end
        for span in covering:
            found.setdefault(span.source, span)
        ends = [span.end for span in covering if span.end is not None]
        if len(ends) < len(covering):
            break
        end = max(ends)
        if end > now + _WEEK_MS and _never_ends(freezes):
            break
    return tuple(found.values()), None


def _ahead(freezes: Freezes, moment: int) -> list[Span]:
    """Return of each source the first span that ends after `moment`."""
    return [span for source in freezes.sources if (span := spans.span_after(source, moment)) is not None]


def _last_date(freezes: Freezes, now: int) -> int:
    """Return the end of the last thing that does not recur, or `now`: what comes later repeats itself."""
    dated = (source.until for source in freezes.sources if isinstance(source, OneOff | Manual))
    return max([now, *(end for end in dated if end is not None)])


def _never_ends(freezes: Freezes) -> bool:
    weekly = [window for window in freezes.windows if isinstance(window, Recurring)]
    return any(
        spans.leaves_no_hole(window for window in weekly if window.zone == zone)
        for zone in {window.zone for window in weekly}
    )
