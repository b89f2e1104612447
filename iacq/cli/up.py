"""`iacq up`: the whole system on this machine, in the foreground."""

from __future__ import annotations

import click

from iacq.cli import output, wording
from iacq.cli.app import App
from iacq.cli.command import Command, pass_app
from iacq.cli.happening import Happening
from iacq.domain import transitions
from iacq.errors import Unavailable
from iacq.keeper import grace

_LOOK = 0.5
"""Seconds between two looks at what happened."""


@click.command(cls=Command, example="iacq up --pods 2")
@click.option(
    "--pods",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    metavar="N",
    help="At most so many, with 3 slots each; the first one starts now, the others when runs need them.",
)
@click.option("--flower", is_flag=True, help="Also Flower's pages, at IACQ_FLOWER_ADDRESS.")
@pass_app
def up(app: App, pods: int, flower: bool) -> None:
    """Run broker, database, control worker, beat and pods here, until ^C.

    The first ^C lets running phases end for a while and names them; the second one interrupts terraform. What
    waits goes on at the next start.
    """
    from iacq.bootstrap import whole_system

    booting = Said()
    with whole_system.running(app.settings, pods=pods, flower=flower, say=booting) as system:
        booting.loud = True
        happening = Happening(app.client)
        _print_status(app, happening, pods, flower=flower)
        try:
            while True:
                system.wait(_LOOK)
                for event in happening.news():
                    _print_event(app, event)
        except KeyboardInterrupt:
            system.stop(meanwhile=lambda: _print_stopping(app))


class Said:
    """What the supervisor says: while the system starts, only what goes wrong."""

    def __init__(self) -> None:
        self.loud = False

    def __call__(self, text: str) -> None:
        if self.loud or ": started, process " not in text:
            output.note(text)


def _print_status(app: App, happening: Happening, most: int, *, flower: bool) -> None:
    settings, slots = app.settings, app.client.slots()
    facts = {
        "home": str(settings.home),
        "database": "PostgreSQL" if settings.sqlalchemy_url.startswith("postgresql") else "SQLite in HOME",
        "broker": "given by IACQ_BROKER_URL" if settings.broker_url else f"embedded, {settings.broker_socket}",
        "pods": ", ".join(happening.online),
        "most_pods": most,
        "slots": sum(slot.pod_name in happening.online for slot in slots),
        **({"flower": f"http://{settings.flower_address}/"} if flower else {}),
        **({"metrics": f"http://{settings.metrics_address}/metrics"} if settings.metrics_address else {}),
        "logs": str(settings.home / "log"),
        "unended_runs": happening.unended,
    }
    if app.as_json:
        output.stream({"event": "up", **facts})
        return
    output.line("iacq is up. ^C stops it.")
    for name, value in facts.items():
        output.line(f"  {name.replace('_', ' ') + ':':<14} {value}")
    output.line()


def _print_event(app: App, event: dict[str, str | int | None]) -> None:
    if app.as_json:
        output.stream(event)
        return
    if "pod" in event:
        reason = f"  {event['reason']}" if event["reason"] else ""
        output.line(f"{event['time']}  pod {event['pod']}  {event['status']}{reason}")
        return
    where = f"  {event['where']}" if event["where"] else ""
    output.line(f"{event['time']}  run {event['run']}  {event['workspace']}  {event['status']}{where}")


def _print_stopping(app: App) -> None:
    output.note("\nStopping.")
    try:
        running = [run for run, _ in app.client.queue() if run.status in transitions.RUNNING]
    except Unavailable:
        return  # what runs cannot be named; stopping goes on
    for run in running:
        output.note(f"  still {run.status}: {wording.title(run)}")
    if running:
        left = grace.running_may_last(app.settings.stop_grace)
        output.note(f"  They may end within {left:g} s, then terraform is interrupted; ^C interrupts it now.")
