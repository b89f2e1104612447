"""Freezes as other programs read them: stable keys, RFC 3339 in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iacq.domain.freeze import deciding, windows, wording
from iacq.domain.freeze.deciding import Interval
from iacq.domain.freeze.windows import OneOff, Recurring, Window
from iacq.errors import InvalidInput
from iacq.services.core import Core
from iacq.services.views import rfc3339
from iacq.store import freeze_events, freezes
from iacq.store.freeze_events import FreezeEvent
from iacq.store.freezes import PoolFreezes

DAY_MS = 86_400_000
MAX_DAYS = 366
_EVENTS = 20


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A pool's freezes with what happened to them last."""

    pool: PoolFreezes
    events: Sequence[FreezeEvent]  # oldest first


def listed(core: Core, pools: Sequence[str]) -> list[Shown]:
    """Return what these pools keep. Raises NotFound."""
    return [
        Shown(
            pool=core.database.read(freezes.find, pool),
            events=core.database.read(freeze_events.newest, pool, limit=_EVENTS),
        )
        for pool in pools
    ]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """When a pool is frozen in some days from now on."""

    pool: PoolFreezes
    intervals: Sequence[Interval]

    @property
    def first_open(self) -> int | None:
        """The first moment (ms) that is not frozen; None: none can be seen."""
        return deciding.first_open(self.pool.freezes, self.pool.now)


def preview(core: Core, pool: str, *, days: int) -> Preview:
    """Look some days ahead. Raises NotFound, InvalidInput."""
    if not 1 <= days <= MAX_DAYS:
        raise InvalidInput(f"--days {days} is not from 1 to {MAX_DAYS}", field="--days", hint="give a number of days")
    found = core.database.read(freezes.find, pool)
    ahead = deciding.preview(found.freezes, found.now, found.now + days * DAY_MS)
    return Preview(pool=found, intervals=ahead)


def pool_to_json(shown: Shown) -> dict[str, Any]:
    """Show a pool's freezes."""
    pool, manual, bypass = shown.pool, shown.pool.freezes.manual, shown.pool.freezes.bypass
    return {
        "pool": pool.pool,
        "frozen": pool.frozen,
        "frozen_since": rfc3339(pool.frozen_since),
        "next_change": rfc3339(pool.decision.next_change),
        "text": pool.text,
        "windows": [window_to_json(window) for window in pool.freezes.windows],
        "by_hand": {
            "since": rfc3339(manual.since),
            "until": rfc3339(manual.until),
            "reason": manual.reason,
            "by": manual.by,
        }
        if manual
        else None,
        "bypass": {
            "since": rfc3339(bypass.since),
            "until": rfc3339(bypass.until),
            "reason": bypass.reason,
            "by": bypass.by,
        }
        if bypass
        else None,
        "events": [_event_to_json(event) for event in shown.events],
    }


def window_to_json(window: Window) -> dict[str, Any]:
    """Show a window; `error` says why a stored one cannot be read."""
    shown: dict[str, Any] = dict.fromkeys(("name", "days", "from", "to", "at", "until", "zone", "error"))
    shown["name"] = window.name
    match window:
        case Recurring():
            shown |= windows.store(window)
        case OneOff():
            shown |= {"at": rfc3339(window.at), "until": rfc3339(window.until), "zone": window.zone}
        case _:
            shown["error"] = window.why
    return shown


def _event_to_json(event: FreezeEvent) -> dict[str, Any]:
    return {
        "at": rfc3339(event.at),
        "action": event.action,
        "by": event.by,
        "reason": event.reason,
        "details": event.details,
    }


def preview_to_json(preview: Preview) -> dict[str, Any]:
    """Show when a pool is frozen."""
    return {
        "pool": preview.pool.pool,
        "frozen": preview.pool.frozen,
        "first_open": rfc3339(preview.first_open),
        "intervals": [
            {
                "from": rfc3339(interval.start),
                "until": rfc3339(interval.end),
                "reasons": wording.reasons(interval.spans),
            }
            for interval in preview.intervals
        ],
    }
