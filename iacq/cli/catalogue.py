"""The commands: name, where each lives, one line of help. None of them is imported for `iacq --help`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One command that is imported when it is used."""

    where: str  # module:attribute
    short: str  # one line of help


def _entry(where: str, short: str) -> Entry:
    module, attribute = where.split(":")
    return Entry(where=f"iacq.cli.{module}:{attribute}", short=short)


SECTIONS: Mapping[str, Mapping[str, Entry]] = {
    "Start here": {
        "demo": _entry("demo:demo", "A packaged example: plan, confirm, apply, and the timeline of it."),
        "up": _entry("up:up", "The whole system on this machine, in the foreground."),
        "doctor": _entry("doctor:doctor", "Check everything that a run needs, and say what to do."),
    },
    "Runs": {
        "plan": _entry("runs:plan", "Plan a workspace and show what would change."),
        "apply": _entry("runs:apply", "Plan a workspace, ask, and apply that very plan."),
        "destroy": _entry("runs:destroy", "Plan the removal of everything in a workspace, ask, and do it."),
        "drift": _entry("runs:drift", "Look for changes that were made outside of terraform."),
        "runs": _entry("run_list:list_runs", "List runs, newest first."),
        "show": _entry("run_show:show", "Show one run: what it did, when, and why it waits."),
        "logs": _entry("run_logs:logs", "Print the log of a run; -f follows it."),
        "confirm": _entry("run_steps:confirm", "Confirm the plan of a run."),
        "discard": _entry("run_steps:discard", "Discard an unconfirmed plan."),
        "cancel": _entry("run_steps:cancel", "Cancel a run."),
        "run": _entry("run:run", "All commands about one run (also retry, resolve)."),
        "queue": _entry("fleet:queue", "What waits, in order, and why."),
    },
    "Workspaces": {
        "workspace": _entry("workspace:workspace", "Create, list, show, update, delete, lock, unlock."),
        "output": _entry("values:output_command", "The outputs of the last apply of a workspace."),
        "state": _entry("values:state", "The versions of a managed state."),
    },
    "The system": {
        "pod": _entry("pods:pod", "Worker pods: list, drain, delete."),
        "pods": _entry("pods:list_pods", "List pods (short for pod list)."),
        "pool": _entry("pool:pool", "Pools of pods: create, list, show, update, roll, delete."),
        "scale": _entry("pool:scale", "How many pods a pool should have, and why."),
        "slot": _entry("fleet:slot", "Slots of pods."),
        "slots": _entry("fleet:list_slots", "List slots (short for slot list)."),
        "freeze": _entry("freeze:freeze", "When nothing may run in a pool: windows, now, and the way around."),
        "db": _entry("database:db", "Bring the database to the present schema, check it, or change its keys."),
        "settings": _entry("configured:settings", "Every setting with its value, source and meaning."),
        "metrics": _entry("metrics:metrics", "Queue, slots and times, as Prometheus reads them."),
        "flower": _entry("flower:flower", "Flower on iacq's broker: slots and what they ran, read-only."),
        "worker": _entry("worker:worker", "The processes one by one, for containers."),
    },
}
