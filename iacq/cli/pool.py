"""`iacq pool` and `iacq scale`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from iacq import settings
from iacq.cli import output
from iacq.cli.app import App
from iacq.cli.command import Command, Group, pass_app
from iacq.domain import pod_manifest, pod_template
from iacq.errors import InvalidInput
from iacq.services import pool_views
from iacq.services.pools import PoolChange, Shown

F = TypeVar("F", bound=Callable[..., Any])
_argument = click.argument("name", metavar="POOL")
_OPTIONS = (
    click.option("--min", "min_pods", type=int, metavar="N", help="Pods that there are at least."),
    click.option("--max", "max_pods", type=int, metavar="N", help="Pods that there are at most."),
    click.option("--slots", "slots_per_pod", type=int, metavar="N", help="Runs that a pod does at once."),
    click.option("--headroom", type=int, metavar="N", help="Slots to keep free beside those in use."),
    click.option("--idle-grace", metavar="TIME", help="How long an idle pod is kept, for example 10m."),
    click.option(
        "--template", metavar="FILE", help="YAML or JSON: what its pods are like (docs/fleet.md); - is stdin."
    ),
)


def _options(function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.group(cls=Group)
def pool() -> None:
    """Pools: sets of pods with one size policy. Slots of one pod trust each other; pools do not."""


@pool.command(cls=Command, example="iacq pool create build --min 1 --max 10 --slots 4 --idle-grace 10m")
@_argument
@_options
@pass_app
def create(app: App, /, name: str, **given: Any) -> None:
    """Create a pool. Of what is not given: min 0, max 1, slots 3, headroom 0, idle grace IACQ_POD_IDLE_GRACE."""
    made = app.client.create_pool(name, _change(given))
    _say(app, made, f"Pool {name} was created. Next: iacq workspace create NAME --pool {name} ...")


@pool.command(cls=Command, example="iacq pool update build --max 20")
@_argument
@_options
@pass_app
def update(app: App, /, name: str, **given: Any) -> None:
    """Change a pool; what is not given stays. Another template, or number of slots, replaces its pods."""
    _say(app, app.client.update_pool(name, _change(given)), f"Pool {name} was changed.")


@pool.command("list", cls=Command, example="iacq pool list")
@pass_app
def list_pools(app: App) -> None:
    """List pools."""
    found = app.client.pools()
    if app.as_json:
        output.emit([pool_views.pool_to_json(item) for item in found])
        return
    rows = [
        (
            item.pool.name,
            item.pool.policy.min_pods,
            item.pool.policy.max_pods,
            _pods(item),
            item.pool.policy.slots_per_pod,
            item.pool.policy.headroom,
            output.duration(item.pool.policy.idle_grace_ms),
            item.pool.generation,
        )
        for item in found
    ]
    headers = ("NAME", "MIN", "MAX", "PODS", "SLOTS", "HEADROOM", "IDLE-GRACE", "GENERATION")
    output.print_table(headers, rows, empty="No pools. `iacq up` makes one, or `iacq pool create NAME`.")


@pool.command(cls=Command, example="iacq pool show build")
@_argument
@pass_app
def show(app: App, name: str) -> None:
    """Show a pool and the pods that it has."""
    found = app.client.pool(name)
    if app.as_json:
        output.emit(pool_views.pool_to_json(found))
        return
    policy, failures = found.pool.policy, found.pool.failures
    template = found.pool.template or {}
    environment = template.get(pod_manifest.ENVIRONMENT, {})
    facts = {
        "Pool": name,
        "Size": f"{policy.min_pods} to {policy.max_pods} pods of {policy.slots_per_pod} slots",
        "Pods": _pods(found),
        "Headroom": f"{policy.headroom} slots",
        "Idle grace": output.duration(policy.idle_grace_ms),
        "Generation": str(found.pool.generation),
        "Environment": ", ".join(f"{key}={value}" for key, value in sorted(environment.items())),
        "Pod": ", ".join(f"{name} of a template (--json shows it)" for name in pod_manifest.OF_POD if name in template),
        "Failures": f"{failures.count} in a row, the last at {output.moment(failures.last_at)}"
        if failures.count
        else "",
        "Changed": output.moment(found.pool.updated_at),
    }
    for key, value in facts.items():
        if value:
            output.line(f"{key + ':':<13} {output.printable(value)}")


@pool.command(cls=Command, example="iacq pool roll build")
@_argument
@pass_app
def roll(app: App, name: str) -> None:
    """Replace every pod of a pool: idle ones first, busy ones when they are done."""
    rolled = app.client.roll_pool(name)
    _say(app, rolled, f"Pool {name} has generation {rolled.pool.generation} now: older pods are replaced.")


@pool.command(cls=Command, example="iacq pool delete build")
@_argument
@pass_app
def delete(app: App, name: str) -> None:
    """Delete a pool that has no workspaces, no unended runs and no pods."""
    app.client.delete_pool(name)
    if app.as_json:
        output.emit({"name": name, "deleted": True})
    else:
        output.line(f"Pool {name} was deleted.")


@click.command(cls=Command, example="iacq scale default --explain")
@_argument
@click.option("--explain", is_flag=True, help="Also say why: the rule with its numbers, and each limit.")
@pass_app
def scale(app: App, name: str, explain: bool) -> None:
    """Show how many pods a pool should have now, and what will be done. Nothing is changed."""
    decision = app.client.explain_scaling(name)
    if app.as_json:
        output.emit(pool_views.scaling_to_json(decision))
        return
    for reason in decision.explain():
        if explain or reason.code == "result":
            output.line(f"{reason.code + ':':<13} {output.printable(reason.text)}")


def _change(given: dict[str, Any]) -> PoolChange:
    numbers = {name: given[name] for name in ("min_pods", "max_pods", "slots_per_pod", "headroom")}
    grace, file = given["idle_grace"], given["template"]
    return PoolChange(
        **numbers,
        idle_grace_ms=None if grace is None else _milliseconds(grace),
        template=None if file is None else pod_template.parse(_text(file)),
    )


def _milliseconds(text: str) -> int:
    try:
        return int(settings.duration(text) * 1000)
    except ValueError as error:
        raise InvalidInput(f"{text!a} is no time: {error}", field="--idle-grace") from error


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{file!a} cannot be read: {error}", field=pod_manifest.FIELD) from error


def _pods(shown: Shown) -> str:
    there = ", ".join(f"{number} {status}" for status, number in sorted(shown.pods.items()) if number)
    return there or "none"


def _say(app: App, shown: Shown, text: str) -> None:
    if app.as_json:
        output.emit(pool_views.pool_to_json(shown))
    else:
        output.line(text)
