"""`iacq pod`."""

from __future__ import annotations

import click

from iacq.cli import output
from iacq.cli.app import App
from iacq.cli.command import Command, Group, pass_app
from iacq.domain.slot import Pod, Slot
from iacq.services import views

pod_argument = click.argument("name", metavar="POD")


@click.group(cls=Group)
def pod() -> None:
    """Worker pods."""


@pod.command("list", cls=Command, example="iacq pod list")
@pass_app
def list_pods(app: App) -> None:
    """List pods: how many of their slots are in use, and why one does not run or goes.

    GEN is the generation of its pool's template; a pod without one was started by hand.
    """
    pods, slots = app.client.pods(), app.client.slots()
    by_pod: dict[str, list[Slot]] = {}
    for slot in slots:
        by_pod.setdefault(slot.pod_name, []).append(slot)
    shown = [views.pod_to_json(item, by_pod.get(item.name, [])) for item in pods]
    if app.as_json:
        output.emit(shown)
        return
    now = app.now_ms()
    rows = [
        (
            item["name"],
            item["pool"],
            item["status"],
            item["slots"],
            item["running"],
            item["reserved"],
            item["generation"],
            output.age(found.last_heartbeat, now),
            _first_line(item["reason"]),
        )
        for found, item in zip(pods, shown, strict=True)
    ]
    headers = ("NAME", "POOL", "STATUS", "SLOTS", "RUNNING", "RESERVED", "GEN", "SEEN", "WHY")
    output.print_table(headers, rows, empty="No pods. `iacq up` starts one.")


def _first_line(text: str | None) -> str | None:
    return text.partition("\n")[0] if text else None


@pod.command("drain", cls=Command, example="iacq pod drain default-x7k2q")
@pod_argument
@pass_app
def drain(app: App, name: str) -> None:
    """Give a pod no more work, let what runs there end, then delete it.

    Runs that wait there go elsewhere; the apply of one that waits for its confirmation starts without its prepared
    directory. A pod that was started by hand stays until its process is stopped.
    """
    _show(app, app.client.drain_pod(name))


@pod.command("delete", cls=Command, example="iacq pod delete default-x7k2q")
@pod_argument
@click.option("--force", is_flag=True, help="Also if runs hold slots there: what runs is interrupted.")
@pass_app
def delete(app: App, name: str, force: bool) -> None:
    """Delete a pod and its disk; its pool starts another one if it needs it.

    With --force a plan that runs there is made again elsewhere; an apply that ran may become apply_interrupted.
    """
    _show(app, app.client.delete_pod(name, force=force))


def _show(app: App, found: Pod) -> None:
    if app.as_json:
        held = [slot for slot in app.client.slots() if slot.pod_name == found.name]
        output.emit(views.pod_to_json(found, held))
    else:
        output.line(f"Pod {found.name} is {found.status}: {found.reason}")
    app.warn_if_nobody_dispatches()
