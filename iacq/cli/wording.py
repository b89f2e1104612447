"""Sentences about runs that several commands say."""

from __future__ import annotations

from typing import Any

from iacq.cli import output
from iacq.domain.run import Phase, Run, RunType, StartTier, Status, WarmupStatus

SUCCEEDED = frozenset({Status.SUCCESS, Status.PLANNED_AND_FINISHED, Status.APPLIED})
"""Ends that are exit code 0."""


def counts(run: Run) -> str:
    """Say what a plan would change, as terraform says it."""
    if run.changes is None:
        return "no plan"
    changes = run.changes
    return f"{changes.add} to add, {changes.change} to change, {changes.destroy} to destroy"


def short_counts(run: Run) -> str | None:
    """Say it in a table: `+1 ~0 -2`."""
    if run.changes is None:
        return None
    return f"+{run.changes.add} ~{run.changes.change} -{run.changes.destroy}"


def confirm_command(run: Run) -> str:
    """Return the command that confirms the plan of this run, and no other."""
    return f"iacq confirm {run.id} --plan-hash {(run.plan_hash or '')[:12]}"


def question(run: Run) -> str:
    """Return the question before an apply."""
    if run.run_type is RunType.DESTROY:
        return f'Do you really want to destroy everything in workspace "{run.workspace}"?'
    return f'Do you want to perform these actions in workspace "{run.workspace}"?'


def step_ms(run: Run, phase: Phase, step: str) -> int:
    """Return the milliseconds of one step; 0 where it was skipped."""
    return run.timings.get(phase, {}).get(step, 0)


def start_tier(run: Run) -> str | None:
    """Say how the apply started, and what that saved; None before an apply started."""
    if run.start_tier is None:
        return None
    init = step_ms(run, Phase.PLAN, "init")
    if run.start_tier is StartTier.COLD:
        return "start tier: cold (init was repeated)"
    saved = f", about {output.duration(init)} saved" if init else ""
    return f"start tier: {run.start_tier} (init was not repeated{saved})"


def warm_up(run: Run) -> str | None:
    """Say how far the preparation in another slot than the plan's is; None: there is none."""
    where = f"slot {run.prepared_slot_id} of pod {run.prepared_pod_name}"
    match run.warmup_status:
        case WarmupStatus.WARMING:
            return f"being prepared in {where}"
        case WarmupStatus.READY:
            return f"ready in {where}"
        case WarmupStatus.EXPIRED:
            return "expired; the apply restores what was planned when it starts"
        case WarmupStatus.FAILED:
            return f"failed ({run.warmup_retries} so far); the apply restores what was planned when it starts"
        case WarmupStatus.NONE:
            return None


def place(queue: str | None) -> str | None:
    """Name the slot of a queue; None: of none."""
    if queue is None:
        return None
    pod, _, slot = queue.rpartition(".")
    return f"slot {slot} of pod {pod}"


def title(run: Run) -> str:
    """Name a run in a sentence."""
    return f"run {run.id} ({run.run_type} of {run.workspace})"


def has_changes(plan: dict[str, Any]) -> bool:
    """Tell from `terraform show -json` whether a plan would change anything, outputs and drift included."""
    if isinstance(plan.get("applyable"), bool):
        return bool(plan["applyable"])
    changes = [entry.get("change", {}) for entry in plan.get("resource_changes", [])]
    changes += plan.get("output_changes", {}).values()
    acting = any(set(change.get("actions", [])) - {"no-op", "read"} for change in changes)
    return acting or bool(plan.get("resource_drift"))
