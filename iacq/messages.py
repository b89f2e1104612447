"""Names on the broker: queues, Celery tasks with their arguments, and the doorbell. Other services rely on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iacq.domain import versions
from iacq.domain.run import Phase

CONTROL_QUEUE = "iacq.control"

ENQUEUE = "iacq.enqueue"
GET_RUN = "iacq.get_run"
DISPATCH = "iacq.dispatch"
PLAN = "iacq.plan"
APPLY = "iacq.apply"
WARMUP = "iacq.warmup"
RESEND = "iacq.resend"
RECOVER = "iacq.recover"
CHECK_AGENTS = "iacq.check_agents"
BEGIN_WARMUPS = "iacq.begin_warmups"
EXPIRE_WARMUPS = "iacq.expire_warmups"
RECONCILE_PODS = "iacq.reconcile_pods"
EXPIRE_PLANS = "iacq.expire_plans"
APPLY_FREEZE_WINDOWS = "iacq.apply_freeze_windows"
TALLY = "iacq.tally"
RETENTION = "iacq.retention"
CLEANUP_WORK_DIRS = "iacq.cleanup_work_dirs"
SIGNAL_RUN = "iacq.signal_run"
REMOVE_WORK_DIRS = "iacq.remove_work_dirs"
ANSWER = "iacq.answer"
"""Rung in the queue of a slot that was closed for not answering: a slot that handles it opens itself again."""

PHASE_TASKS = {Phase.PLAN: PLAN, Phase.APPLY: APPLY}

CALLS = frozenset({ENQUEUE, GET_RUN})
"""Tasks that other services call and that answer, also about arguments that make no sense. All others are bells."""

VERSION = {"iacq_protocol": versions.BELL_NEEDS}
"""What each bell has in its headers: the oldest protocol that understands it (`domain.versions`)."""

LARGEST_ID = 2**31 - 1
"""What the columns hold."""


def is_id(value: object) -> bool:
    """Tell whether this can be the number of a run."""
    return type(value) is int and 1 <= value <= LARGEST_ID  # a bool is an int, too


def _is_attempt(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_ID


def _is_phase(phase: Phase) -> Callable[[object], bool]:
    return lambda value: value == phase


_ARGUMENTS: Mapping[str, Mapping[str, Callable[[object], bool]]] = {
    **{
        task: {"run_id": is_id, "phase": _is_phase(phase), "attempt": _is_attempt}
        for phase, task in PHASE_TASKS.items()
    },
    WARMUP: {"run_id": is_id, "retry": is_id},
    SIGNAL_RUN: {"run_id": is_id, "slot_id": is_id},
}
"""Arguments of each bell; the others take none."""


def takes(task: str, args: Sequence[object], kwargs: Mapping[str, Any]) -> bool:
    """Tell whether a bell may have these arguments."""
    wanted = _ARGUMENTS.get(task, {})
    return not args and kwargs.keys() == wanted.keys() and all(wanted[name](kwargs[name]) for name in wanted)


def needed_protocol(headers: Mapping[str, Any]) -> Any:
    """Return what a message says that its reader must speak; None: nothing, as those of other services do."""
    [name] = VERSION
    return headers.get(name)


def slot_queue(pod_name: str, slot_id: int) -> str:
    """Name the queue of one slot: `pod.slot`."""
    return f"{pod_name}.{slot_id}"


def agent_queue(pod_name: str) -> str:
    """Name the queue of a pod's housekeeping node: `pod.agent`."""
    return f"{pod_name}.agent"


def queue_of_node(node: str) -> str:
    """Name the queue that a Celery node consumes: `slotN@pod`, `agent@pod`, or a control worker."""
    kind, _, pod_name = node.partition("@")
    if kind == "agent":
        return agent_queue(pod_name)
    number = kind.removeprefix("slot")
    return slot_queue(pod_name, int(number)) if number.isdecimal() else CONTROL_QUEUE


@dataclass(frozen=True, kw_only=True)
class Doorbell:
    """Tell a slot to look at a run. It carries no authority: the claim in the database decides."""

    run_id: int
    phase: Phase
    attempt: int  # which dispatch this belongs to; the claim of any other attempt changes no row
    queue: str  # `pod.slot`
    workspace: str  # for people who look at Flower; never read by iacq

    @property
    def shown(self) -> str:
        """What people see of the message."""
        return f"run {self.run_id} {self.phase} {self.workspace}"


@dataclass(frozen=True, kw_only=True)
class WarmupBell:
    """Tell a slot to prepare a run. It carries no authority either."""

    run_id: int
    retry: int  # which warm-up of the run this is, from 1; the claim of any other changes no row
    queue: str  # `pod.slot`
    workspace: str  # for people who look at Flower

    @property
    def shown(self) -> str:
        """What people see of the message."""
        return f"run {self.run_id} warmup {self.workspace}"


_SHOWN = re.compile(r"run \d{1,19} (plan|apply|warmup) [A-Za-z0-9][A-Za-z0-9_-]{0,49}")


def presentable(arguments: object) -> str:
    """Return what people may see of a message's arguments as its sender described them: a bell's own words.

    The arguments of any other message may hold secrets (variables of `iacq.enqueue`), and anybody may forge one.
    """
    if not arguments:
        return ""
    return arguments if isinstance(arguments, str) and _SHOWN.fullmatch(arguments) else "(hidden)"
