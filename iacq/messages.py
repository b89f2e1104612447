"""Names on the broker: queues, Celery tasks, and the doorbell message. Other services rely on them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from iacq.domain.run import Phase

CONTROL_QUEUE = "iacq.control"

ENQUEUE = "iacq.enqueue"
GET_RUN = "iacq.get_run"
DISPATCH = "iacq.dispatch"
PLAN = "iacq.plan"
APPLY = "iacq.apply"
RESEND = "iacq.resend"
RECOVER = "iacq.recover"
CHECK_AGENTS = "iacq.check_agents"
RECONCILE_PODS = "iacq.reconcile_pods"
EXPIRE_PLANS = "iacq.expire_plans"
TALLY = "iacq.tally"
CLEANUP_WORK_DIRS = "iacq.cleanup_work_dirs"
SIGNAL_RUN = "iacq.signal_run"
REMOVE_WORK_DIRS = "iacq.remove_work_dirs"
ANSWER = "iacq.answer"
"""Rung in the queue of a slot that was closed for not answering: a slot that handles it opens itself again."""

PHASE_TASKS = {Phase.PLAN: PLAN, Phase.APPLY: APPLY}


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


_SHOWN = re.compile(r"run \d{1,19} (plan|apply) [A-Za-z0-9][A-Za-z0-9_-]{0,49}")


def presentable(arguments: object) -> str:
    """Return what people may see of a message's arguments as its sender described them: a bell's own words.

    The arguments of any other message may hold secrets (variables of `iacq.enqueue`), and anybody may forge one.
    """
    if not arguments:
        return ""
    return arguments if isinstance(arguments, str) and _SHOWN.fullmatch(arguments) else "(hidden)"
