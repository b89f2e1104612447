"""Remove directories that no run owns any more. A pod removes its own, and asks the database first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from iacq.domain import transitions
from iacq.domain.run import Run, Status
from iacq.keeper import files
from iacq.ports import Workshop
from iacq.services.core import Apart, Core
from iacq.store import pods, runs
from iacq.store.pods import Registration
from iacq.store.session import Transaction

_NAME = re.compile(r"(\d+)-(\d+)")


def parse_name(name: str) -> tuple[int, int] | None:
    """Return run and fence that the name of a directory tells."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True, kw_only=True)
class RunDirectory:
    """A directory in a slot: made by one claim of a run."""

    run_id: int
    fence: int
    place: tuple[str, int]  # pod and slot


def remove_work_dirs(core: Core, pod: Registration, workshops: Mapping[int, Workshop], slots_root: Path) -> int:
    """Remove what no run owns any more from the slots of a pod; returns how many directories."""
    removed = 0
    for slot_id, workshop in workshops.items():
        jobs = files.list_jobs(slots_root / f"slot-{slot_id}" / "jobs")
        living = {job.run_id for job in jobs if files.is_alive(job.path)}
        for job in jobs:
            directory = RunDirectory(run_id=job.run_id, fence=job.fence, place=(pod.pod_name, slot_id))
            if job.run_id not in living and _removable(core, directory, pod.agent_id):
                files.forget(job.path)
        for name in workshop.names():
            found = parse_name(name)
            if found is None or found[0] in living:
                continue
            directory = RunDirectory(run_id=found[0], fence=found[1], place=(pod.pod_name, slot_id))
            if _removable(core, directory, pod.agent_id):
                workshop.remove(name)
                removed += 1
    return removed


def needed_pods(tx: Transaction) -> set[str]:
    """Return the pods whose directories may be needed: known ones, and those that a run names which has not ended."""
    needed = {pod.name for pod in pods.listed(tx)}
    for run in runs.listed(tx, statuses=set(Status) - transitions.ENDED):
        queue = run.queue.rpartition(".")[0] if run.queue else None
        needed |= {name for name in (run.pod_name, run.prepared_pod_name, queue) if name}
    return needed


def _removable(core: Core, directory: RunDirectory, agent_id: str) -> bool:
    with Apart(run=directory.run_id):
        run = core.database.read(runs.get, directory.run_id)
        keep_ms = int(core.settings.workdir_keep * 1000)
        return is_removable(run, directory, agent_id, core.clock.now_ms(), keep_ms)
    return False  # a broken row cannot say whether it is needed


def is_removable(run: Run | None, directory: RunDirectory, agent_id: str, now_ms: int, keep_ms: int) -> bool:
    """Tell whether nothing will use a directory again.

    It belongs to one claim. While the run goes on, three may be in use: that of the claim that works now, that of an
    apply that may have effects, and that of the plan or warm-up, if the run is prepared right here or being applied.
    Those of an interrupted apply are evidence until somebody resolves it; those of failed runs are kept for a while.
    """
    if run is None:
        return True
    if run.status in transitions.ENDED:
        ended = run.completed_at or 0
        return run.status is not Status.FAILED or now_ms - ended >= keep_ms
    if run.status is Status.APPLY_INTERRUPTED:
        return False
    in_use = {run.effects_fence}
    if run.status in transitions.RUNNING:
        in_use.add(run.fence)
    prepared_at = (run.prepared_agent_id, run.prepared_pod_name, run.prepared_slot_id)
    if prepared_at == (agent_id, *directory.place) or run.effects_fence is not None:
        in_use.add(run.plan_fence if run.warmup_fence is None else run.warmup_fence)
    return directory.fence not in in_use
