"""What people change about freezes: windows, a freeze by hand, a bypass. Each change is kept with who made it and why.

A change and what follows from it for the pool's mark are one transaction: when the call returns, nothing is dispatched
or claimed there any more. What is under way there is dealt with at once by a control worker (`services.freezing`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from iacq.domain.freeze import windows, wording, writing
from iacq.domain.freeze.windows import OneOff, Recurring
from iacq.errors import Conflict, InvalidInput
from iacq.messages import APPLY_FREEZE_WINDOWS, DISPATCH, RECONCILE_PODS
from iacq.services.core import Core
from iacq.store import freeze_events, freezes
from iacq.store.freeze_events import Action
from iacq.store.freezes import PoolFreezes
from iacq.store.session import Transaction

DEFAULT_ZONE = "UTC"


@dataclass(frozen=True, kw_only=True)
class NewWindow:
    """A window as somebody wrote it: days, start and end of every week, or at and until."""

    name: str | None = None  # None: the first of window-1, window-2, … that is free
    days: str | None = None
    start: str | None = None
    end: str | None = None
    at: str | None = None
    until: str | None = None
    zone: str | None = None  # IANA name; None: UTC, for a window that occurs once


@dataclass(frozen=True, kw_only=True)
class Until:
    """Until when, as somebody wrote it: `2h`, or a date and time by the clocks of a zone."""

    text: str
    zone: str = DEFAULT_ZONE

    def parse(self, now: int) -> int:
        """Return ms. Raises InvalidInput."""
        return writing.parse_until(self.text, zone=self.zone, now=now)


def add_window(core: Core, pool: str, new: NewWindow, *, by: str) -> PoolFreezes:
    """Add a window; it is in force at once. Raises InvalidInput, NotFound, Conflict."""

    def add(tx: Transaction, found: PoolFreezes) -> None:
        window = _parse(new, name=new.name or _free_name(found), now=found.now)
        freezes.add_window(tx, pool, window, by=by)
        freeze_events.record(tx, pool, Action.ADDED, by=by, details=describe(window))

    return _change(core, pool, add)


def _free_name(found: PoolFreezes) -> str:
    taken = {window.name for window in found.freezes.windows}
    return next(name for number in range(1, len(taken) + 2) if (name := f"window-{number}") not in taken)


def _parse(new: NewWindow, *, name: str, now: int) -> Recurring | OneOff:
    weekly = {"--days": new.days, "--from": new.start, "--to": new.end}
    once = {"--at": new.at, "--until": new.until}
    said = [option for option, value in (weekly | once).items() if value is not None]
    wanted = once if set(said) & set(once) else {**weekly, "--tz": new.zone}
    for option in said:
        if option not in wanted:
            raise InvalidInput(
                f"{option} does not go with {' and '.join(once)}",
                field=option,
                hint="a window recurs (--days, --from, --to, --tz) or occurs once (--at, --until)",
            )
    for option, value in wanted.items():
        if value is None:
            raise InvalidInput(
                f"{option} is missing",
                field=option,
                hint="--days mon-fri --from 23:00 --to 02:00 --tz Europe/Berlin, or --at … --until …",
            )
    if wanted is once:
        at, until, zone = new.at or "", new.until or "", new.zone or DEFAULT_ZONE
        return writing.parse_one_off(name=name, at=at, until=until, zone=zone, now=now)
    return writing.parse_recurring(
        name=name, days=new.days or "", start=new.start or "", end=new.end or "", zone=new.zone or ""
    )


def describe(window: Recurring | OneOff) -> str:
    """Write a window in words: `nights: mon-fri 23:00 to 02:00 Europe/Berlin`."""
    if isinstance(window, OneOff):
        start, end = wording.moment(window.at, window.zone), wording.moment(window.until, window.zone)
        return f"{window.name}: {start} to {end}"
    hours = f"{windows.clock_text(window.start)} to {windows.clock_text(window.end)}"
    return f"{window.name}: {windows.days_text(window.days)} {hours} {window.zone}"


def remove_window(core: Core, pool: str, name: str, *, by: str) -> PoolFreezes:
    """Remove a window. Raises NotFound."""

    def remove(tx: Transaction, found: PoolFreezes) -> None:
        freezes.remove_window(tx, pool, name)
        was = next((window for window in found.freezes.windows if window.name == name), None)
        said = describe(was) if isinstance(was, Recurring | OneOff) else name
        freeze_events.record(tx, pool, Action.REMOVED, by=by, details=said)

    return _change(core, pool, remove)


def freeze_now(core: Core, pool: str, *, until: Until | None, reason: str, by: str) -> PoolFreezes:
    """Freeze a pool at once, until then or until it is lifted; ends a bypass. Raises InvalidInput, NotFound."""

    def freeze(tx: Transaction, found: PoolFreezes) -> None:
        end = None if until is None else until.parse(found.now)
        manual = writing.make_manual(until=end, reason=reason, by=by, now=found.now)
        freezes.set_manual(tx, pool, manual)
        said = None if end is None else f"until {wording.moment(end, DEFAULT_ZONE)}"
        freeze_events.record(tx, pool, Action.FROZEN, by=by, reason=manual.reason, details=said)

    return _change(core, pool, freeze)


def lift(core: Core, pool: str, *, reason: str, by: str) -> PoolFreezes:
    """End a freeze by hand. Raises InvalidInput, NotFound, and Conflict if there is none: windows are not lifted."""
    said = writing.check_reason(reason)

    def end(tx: Transaction, found: PoolFreezes) -> None:
        if not is_frozen_by_hand(found):
            raise Conflict(
                f"pool {pool} is not frozen by hand: {found.text}",
                field="pool",
                hint=f"`iacq freeze bypass {pool} --until 1h --reason …` lifts windows for a while"
                if found.frozen
                else None,
            )
        freezes.set_manual(tx, pool, None)
        freeze_events.record(tx, pool, Action.LIFTED, by=by, reason=said)

    return _change(core, pool, end)


def is_frozen_by_hand(found: PoolFreezes) -> bool:
    """Tell whether there is a freeze by hand to be lifted."""
    manual = found.freezes.manual
    return manual is not None and (manual.until is None or manual.until > found.now)


def bypass(core: Core, pool: str, *, until: Until, reason: str, by: str) -> PoolFreezes:
    """Lift whatever freezes a pool until then. Raises InvalidInput, NotFound."""

    def lift_all(tx: Transaction, found: PoolFreezes) -> None:
        end = until.parse(found.now)
        made = writing.make_bypass(until=end, reason=reason, by=by, now=found.now)
        freezes.set_bypass(tx, pool, made)
        said = f"until {wording.moment(end, DEFAULT_ZONE)}"
        freeze_events.record(tx, pool, Action.BYPASSED, by=by, reason=made.reason, details=said)

    return _change(core, pool, lift_all)


def names(core: Core, wanted: Collection[str]) -> list[str]:
    """Return these pools, or all. Raises NotFound if one does not exist, before anything is changed."""
    known = [found.pool for found in core.database.read(freezes.listed)]
    for pool in wanted:
        core.database.read(freezes.find, pool)
    return list(wanted) or known


def _change(core: Core, pool: str, change: Callable[[Transaction, PoolFreezes], None]) -> PoolFreezes:
    def step(tx: Transaction) -> tuple[PoolFreezes, PoolFreezes]:
        before = freezes.lock(tx, pool)
        change(tx, before)
        return before, freezes.settle(tx, pool)

    before, after = core.database.run(step)
    if after.frozen:
        core.ring_control(APPLY_FREEZE_WINDOWS)
    elif before.frozen:
        core.ring_control(DISPATCH)
    if after.frozen is not before.frozen:
        core.ring_control(RECONCILE_PODS)
    return after
