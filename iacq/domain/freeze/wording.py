"""A decision in words."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from iacq.domain.freeze import zones
from iacq.domain.freeze.deciding import Decision
from iacq.domain.freeze.spans import Span
from iacq.domain.freeze.windows import DAYS, Manual, OneOff, Recurring, Source, Unreadable


def describe(decision: Decision) -> str:
    """Say it in a sentence: `frozen until Mon 2026-11-23 06:00 Europe/Berlin (window nights)`."""
    zone, because = zone_of(decision.spans), f"({reasons(decision.spans)})"
    if decision.frozen:
        if decision.until is None:
            return f"frozen, and no end can be seen {because}"
        return f"frozen until {moment(decision.until, zone)} {because}"
    if decision.bypass is None:
        said, then = "not frozen", "; frozen from"
    else:
        end = moment(decision.bypass.until, zone)
        said = f"not frozen: bypassed by {decision.bypass.by} until {end} ({decision.bypass.reason})"
        then = ", then frozen from"
    if decision.next_change is None:
        return said
    if decision.bypass is not None and decision.next_change == decision.bypass.until:
        return f"{said}, then frozen {because}"
    return f"{said}{then} {moment(decision.next_change, zone)} {because}"


def reasons(spans: Sequence[Span]) -> str:
    """Name what freezes: `window nights, window weekend`."""
    return ", ".join(dict.fromkeys(_reason(span.source) for span in spans))


def zone_of(spans: Sequence[Span]) -> str:
    """Return the IANA name of the zone to show these times in: that of the first one written with a zone."""
    return next((span.source.zone for span in spans if isinstance(span.source, Recurring | OneOff)), "UTC")


def moment(ms: int, zone: str) -> str:
    """Write a moment by the clocks of a zone: `Mon 2026-11-23 06:00 Europe/Berlin`.

    Rounded up to a second, which is shown where it is not 0: what ends then has ended. A time that occurs twice
    has its offset with it.
    """
    when = zones.local(-(-ms // 1000) * 1000, ZoneInfo(zone))
    seconds = f":{when:%S}" if when.second else ""
    offset = f" (UTC{when.isoformat()[-6:]})" if zones.occurs_twice(when) else ""
    return f"{DAYS[when.weekday()].capitalize()} {when:%Y-%m-%d %H:%M}{seconds} {zone}{offset}"


def _reason(source: Source) -> str:
    match source:
        case Manual(by=by, reason=reason):
            return f"by {by}: {reason}"
        case Unreadable(name=name, why=why):
            return f"window {name} cannot be read, write it anew: {why}"
        case _:
            return f"window {source.name}"
