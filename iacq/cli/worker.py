"""`iacq worker`: one process each."""

from __future__ import annotations

import click

from iacq.cli.app import App
from iacq.cli.becoming import become
from iacq.cli.command import Command, Group, pass_app
from iacq.domain.slot import DEFAULT_SLOTS
from iacq.domain.workspace import DEFAULT_POOL
from iacq.keeper import process


@click.group(cls=Group)
def worker() -> None:
    """The processes one by one, for containers. With --json they log JSON."""
    process.make_undumpable()  # until the program that replaces this one does it itself


@worker.command(cls=Command, example="iacq worker agent --pod-name pod-a --slots 3")
@click.option("--pod-name", envvar="POD_NAME", required=True, metavar="NAME", help="A DNS label [env: POD_NAME].")
@click.option(
    "--pool",
    envvar="POOL_ID",
    default=DEFAULT_POOL,
    show_default=True,
    metavar="POOL",
    help="Its pool [env: POOL_ID].",
)
@click.option(
    "--slots",
    type=click.IntRange(1, 100),
    default=DEFAULT_SLOTS,
    show_default=True,
    metavar="N",
    help="Runs that it does at once.",
)
@pass_app
def agent(app: App, pod_name: str, pool: str, slots: int) -> None:
    """Run a pod: its agent, its slots, its housekeeping node."""
    _check_keys(app)
    become(app, "workers.agent", "--pod-name", pod_name, "--pool", pool, "--slots", str(slots))


@worker.command(cls=Command, example="iacq worker pods")
@pass_app
def pods(app: App) -> None:
    """Run pods on this machine as control workers of this IACQ_HOME ask for them, until ^C. `iacq up` does that too."""
    _check_keys(app)
    become(app, "workers.pods")


@worker.command(cls=Command, example="iacq worker control")
@pass_app
def control(app: App) -> None:
    """Run a control worker, which dispatches runs. Several are harmless."""
    _check_keys(app)
    become(app, "workers.control")


@worker.command(cls=Command, example="iacq worker beat")
@pass_app
def beat(app: App) -> None:
    """Run the clock that rings the control workers. Two are harmless."""
    become(app, "workers.control", "beat")


def _check_keys(app: App) -> None:
    from iacq.bootstrap import schema

    schema.look_at_keys(app.settings)
