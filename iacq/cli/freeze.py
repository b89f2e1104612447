"""`iacq freeze`: when nothing may run in a pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from iacq.cli import options, output
from iacq.cli.app import App
from iacq.cli.command import Command, Group, pass_app
from iacq.domain.freeze import wording
from iacq.domain.freeze.windows import OneOff, Recurring, Window
from iacq.errors import Conflict, InvalidInput, NotFound
from iacq.services import freeze_changes, freeze_views
from iacq.services.freeze_changes import DEFAULT_ZONE, NewWindow
from iacq.services.freeze_views import Preview, Shown
from iacq.store.freezes import PoolFreezes

F = TypeVar("F", bound=Callable[..., object])

pool_argument = click.argument("pool", metavar="POOL")


@click.group(cls=Group)
def freeze() -> None:
    """When nothing may run in a pool.

    In a frozen pool nothing is planned or applied, and it has no pods. A confirmation is stored and waits.
    """


@freeze.command(
    cls=Command,
    example="iacq freeze add default --name nights --days mon-fri --from 23:00 --to 02:00 --tz Europe/Berlin\n"
    "iacq freeze add default --name release --at 2026-12-24T18:00Z --until 2026-12-27T06:00Z",
)
@pool_argument
@click.option("--name", metavar="NAME", help="Of the window; default: window-1, window-2, …")
@click.option("--days", metavar="DAYS", help="On which it starts: mon-fri, or sat,sun, or daily.")
@click.option("--from", "start", metavar="HH:MM", help="When it starts.")
@click.option("--to", "end", metavar="HH:MM", help="When it ends; not after --from: on the following day.")
@click.option("--tz", "zone", metavar="ZONE", help=f"An IANA name; with --at it is {DEFAULT_ZONE} if not given.")
@click.option("--at", metavar="T", help="Or once, from a date and time by the clocks of --tz; or with an offset.")
@click.option("--until", metavar="T", help="When that ends.")
@pass_app
def add(app: App, /, pool: str, **given: str | None) -> None:
    """Add a window, of every week or once. It belongs to the day on which it starts."""
    _show(app, [app.client.add_freeze_window(pool, NewWindow(**given))])


@freeze.command(cls=Command, example="iacq freeze remove default nights")
@pool_argument
@click.argument("name", metavar="WINDOW")
@pass_app
def remove(app: App, pool: str, name: str) -> None:
    """Remove a window."""
    _show(app, [app.client.remove_freeze_window(pool, name)])


@freeze.command("list", cls=Command, example="iacq freeze list default")
@click.argument("pool", metavar="[POOL]", required=False)
@pass_app
def list_freezes(app: App, pool: str | None) -> None:
    """List what freezes each pool; with POOL also who changed what, when and why."""
    found = app.client.freezes(pool)
    if app.as_json:
        output.emit([freeze_views.pool_to_json(shown) for shown in found])
        return
    if not found:
        output.note("No pools. `iacq up` makes one.")
    for shown in found:
        _print(shown, events=pool is not None)


def _print(shown: Shown, *, events: bool) -> None:
    output.line(f"{shown.pool.pool}: {output.printable(shown.pool.text)}")
    for window in shown.pool.freezes.windows:
        output.line(f"  {output.printable(_window_text(window))}")
    if events and shown.events:
        output.line()
        rows = [
            (output.moment(event.at), event.action, event.by or "the clock", event.details, event.reason)
            for event in shown.events
        ]
        output.print_table(("AT", "WHAT", "BY", "DETAILS", "REASON"), rows, empty="")


def _window_text(window: Window) -> str:
    if isinstance(window, Recurring | OneOff):
        return freeze_changes.describe(window)
    return f"{window.name}: cannot be read, and freezes until it is written anew: {window.why}"


@freeze.command(cls=Command, example="iacq freeze preview default --days 30\niacq freeze preview --run 42")
@click.argument("pool", metavar="[POOL]", required=False)
@click.option("--run", "run_id", metavar="RUN", type=options.RUN_ID, help="When this run could go on.")
@click.option("--days", type=int, default=7, metavar="N", help="How far to look; default 7.")
@pass_app
def preview(app: App, pool: str | None, run_id: int | None, days: int) -> None:
    """Show when a pool will be frozen."""
    if (pool is None) == (run_id is None):
        raise InvalidInput("say for what", field="pool", hint="name a pool, or a run: --run 42")
    run = None if run_id is None else app.client.get(run_id)
    found = app.client.preview_freezes(run.pool if run else str(pool), days=days)
    if app.as_json:
        output.emit(freeze_views.preview_to_json(found))
        return
    if run is not None:
        output.line(f"Run {run.id} runs in pool {run.pool}. {_first_open(found)}")
    for start, end, why in _intervals(found):
        output.line(f"frozen from {start} to {end} ({output.printable(why)})")
    if not found.intervals:
        output.line(f"Pool {found.pool.pool} is not frozen in the next {days} days.")


def _first_open(found: Preview) -> str:
    if found.first_open is None:
        return "No end of its freeze can be seen."
    if found.first_open == found.pool.now:
        return "It is not frozen now."
    zone = wording.zone_of(found.pool.decision.spans)
    return f"It can go on from {wording.moment(found.first_open, zone)}."


def _intervals(found: Preview) -> list[tuple[str, str, str]]:
    shown = []
    for interval in found.intervals:
        zone = wording.zone_of(interval.spans)
        end = "an end that cannot be seen" if interval.end is None else wording.moment(interval.end, zone)
        shown.append((wording.moment(interval.start, zone), end, wording.reasons(interval.spans)))
    return shown


def _by_hand(function: F) -> F:
    for option in reversed(_BY_HAND):
        function = option(function)
    return function


_BY_HAND = (
    click.argument("pool", metavar="[POOL]", required=False),
    click.option("--all", "every", is_flag=True, help="Every pool."),
    click.option("--reason", required=True, metavar="TEXT", help="Why; shown to whoever waits, and kept."),
)
_tz_option = click.option("--tz", "zone", default=DEFAULT_ZONE, metavar="ZONE", help="By whose clocks --until is.")
_UNTIL = "When that ends: 2h, or a date and time"


@freeze.command(cls=Command, example="iacq freeze now default --until 2h --reason 'incident 42'")
@_by_hand
@click.option("--until", metavar="T", help=f"{_UNTIL}; default: when it is lifted.")
@_tz_option
@pass_app
def now(app: App, pool: str | None, every: bool, reason: str, until: str | None, zone: str) -> None:
    """Freeze a pool at once; ends a bypass.

    Plans are interrupted and made again later; an apply that has begun may end within IACQ_FREEZE_APPLY_GRACE.
    """
    pools = _pools(app, pool, every=every)
    _show(app, [app.client.freeze(name, until=until, zone=zone, reason=reason) for name in pools])


@freeze.command(cls=Command, example="iacq freeze lift default --reason 'incident 42 is over'")
@_by_hand
@pass_app
def lift(app: App, pool: str | None, every: bool, reason: str) -> None:
    """End a freeze by hand. Windows stay: `iacq freeze bypass` is the way around them."""
    pools = _pools(app, pool, every=every)
    if every:
        held = {shown.pool.pool for shown in app.client.freezes() if freeze_changes.is_frozen_by_hand(shown.pool)}
        pools = [name for name in pools if name in held]
        if not pools:
            raise Conflict("no pool is frozen by hand", field="--all")
    _show(app, [app.client.lift_freeze(name, reason=reason) for name in pools])


@freeze.command(cls=Command, example="iacq freeze bypass default --until 1h --reason 'hotfix for incident 42'")
@_by_hand
@click.option("--until", required=True, metavar="T", help=f"{_UNTIL}.")
@_tz_option
@pass_app
def bypass(app: App, pool: str | None, every: bool, reason: str, until: str, zone: str) -> None:
    """Lift whatever freezes a pool for a while; who did it and why is kept. `iacq freeze now` ends it."""
    pools = _pools(app, pool, every=every)
    _show(app, [app.client.bypass_freeze(name, until=until, zone=zone, reason=reason) for name in pools])


def _pools(app: App, pool: str | None, *, every: bool) -> Sequence[str]:
    if (pool is None) is not every:
        raise InvalidInput("say which pools", field="pool", hint="name one, or give --all")
    found = [pool] if pool is not None else [shown.pool.pool for shown in app.client.freezes()]
    if not found:
        raise NotFound("there is no pool", field="--all", hint="`iacq pool create default --max 4` makes one")
    return found


def _show(app: App, changed: Sequence[PoolFreezes]) -> None:
    if app.as_json:
        output.emit([freeze_views.pool_to_json(shown) for found in changed for shown in app.client.freezes(found.pool)])
    else:
        for found in changed:
            output.line(f"{found.pool}: {output.printable(found.text)}")
    if any(found.frozen for found in changed) and not app.client.control_seen():
        output.warn("nothing begins there any more, but what runs there goes on until iacq runs: `iacq up`")
