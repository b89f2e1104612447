"""Runs, slots and events as other programs read them: stable keys, RFC 3339 in UTC."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Container, Mapping
from typing import Any

from iacq.domain import queueing, transitions
from iacq.domain.queueing import Surroundings, Turns, Waiting
from iacq.domain.run import Phase, Run, Status
from iacq.domain.slot import Pod, PodStatus, Slot
from iacq.domain.workspace import Workspace
from iacq.errors import IacqError
from iacq.services.core import Core
from iacq.services.evidence import Evidence
from iacq.store import control, counts, freezes, participation, pools, runs, slots, startable, workspaces
from iacq.store import queue as queue_rows
from iacq.store.session import Transaction
from iacq.store.states import StateVersion

CONTROL_SILENT_MS = 30_000
TIMINGS = ("queue_wait", "claim", "prepare", "init", "terraform", "finish", "total")


def rfc3339(ms: int | None) -> str | None:
    """Write a time in ms since the epoch."""
    if ms is None:
        return None
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def waiting_of(core: Core, run: Run) -> Waiting | None:
    """Say why a run waits."""
    if run.status in transitions.ENDED | transitions.RUNNING:
        return None
    return queueing.explain(run, core.database.read(_surroundings, run))


def _surroundings(tx: Transaction, run: Run) -> Surroundings:
    active = queue_rows.active_of(tx, run.workspace)
    ahead = queue_rows.first_pending_of(tx, run.workspace, run.pool)
    found, _ = startable.find(tx, [run.pool])
    turns = Turns(found, *queue_rows.running_counts(tx))
    return Surroundings(
        workspace=_workspace_of(tx, run),
        active=_other(active, run),
        ahead=_other(ahead, run),
        **_control(tx),
        frozen=freezes.sentences(tx, pool=run.pool).get(run.pool),
        overtaken_by=queueing.find_overtaken(turns).get(run.id),
        **_capacity(tx)(run.pool),
    )


def _capacity(tx: Transaction) -> Callable[[str], dict[str, Any]]:
    """Return what tells what a pool could give to a run: these fields of `Surroundings`."""
    numbers, free, starting = counts.pods_by_status(tx), slots.free_by_pool(tx), counts.starting(tx)
    full, newest = counts.full_slots(tx), participation.newest_by_pool(tx)
    known = {pool.name: pool for pool in pools.listed(tx)}

    def of(pool: str) -> dict[str, Any]:
        existing = sum(
            number for (name, status), number in numbers.items() if name == pool and status != PodStatus.OFFLINE
        )
        found = known.get(pool)
        maximum = found.policy.max_pods if found else None
        since, reason = starting.get(pool, (None, None))
        return {
            "free_slots": free.get(pool, 0),
            "pods": int(numbers.get((pool, PodStatus.ONLINE), 0)),
            "has_pool": found is not None,
            "pods_protocol": newest.get(pool),
            "starting_since": since,
            "starting_reason": reason,
            "full_slots": full.get(pool, 0),
            "failing": found.failing if found else None,
            "maximum": maximum if maximum is not None and existing >= maximum and (maximum or not existing) else None,
        }

    return of


def _control(tx: Transaction) -> dict[str, Any]:
    """Look at the control workers: these fields of `Surroundings`."""
    protocols = control.protocols(tx, ms=CONTROL_SILENT_MS)
    return {"control_seen": bool(protocols), "control_protocol": max(protocols, default=None)}


def _workspace_of(tx: Transaction, run: Run) -> Workspace | None:
    try:
        return workspaces.find(tx, run.workspace)
    except IacqError:
        return None  # its row is broken: whether it is locked is not known, and the others are shown all the same


def queue(core: Core) -> list[tuple[Run, Waiting | None]]:
    """Return every run that has not ended, in the order of dispatch, each with why it waits."""
    return core.database.read(explain_all)


def explain_all(tx: Transaction) -> list[tuple[Run, Waiting | None]]:
    """Say of every run that has not ended why it waits: the same as `waiting_of`, with a few questions for all."""
    unended = sorted(runs.listed(tx, statuses=set(Status) - transitions.ENDED), key=queueing.order)
    changing = [run for run in unended if run.run_type.changes_state]
    active = {run.workspace: run for run in changing if run.status in transitions.ACTIVE}
    pending = [run for run in changing if run.status is Status.PENDING]
    ahead = {run.workspace: run for run in reversed(pending)}
    locked = {found.name: found for found in workspaces.locked(tx)}
    capacity = _capacity(tx)
    by_workspace, by_caller = queue_rows.running_counts(tx)
    overtaken = {
        number: before
        for waiting in _startable_by_pool(unended, active, ahead, locked).values()
        for number, before in queueing.find_overtaken(Turns(waiting, by_workspace, by_caller)).items()
    }
    control_workers = _control(tx)
    frozen = freezes.sentences(tx)

    def around(run: Run) -> Surroundings:
        return Surroundings(
            workspace=locked.get(run.workspace),
            active=_other(active.get(run.workspace), run),
            ahead=_other(ahead.get(run.workspace), run),
            **control_workers,
            frozen=frozen.get(run.pool),
            overtaken_by=overtaken.get(run.id),
            **capacity(run.pool),
        )

    return [(run, queueing.explain(run, around(run))) for run in unended]


def _startable_by_pool(
    unended: list[Run], active: Mapping[str, Run], ahead: Mapping[str, Run], locked: Container[str]
) -> dict[str, list[Run]]:
    """Pick what could start now, as `store.startable` does."""
    found: dict[str, list[Run]] = {}
    for run in unended:
        first = ahead.get(run.workspace) == run and run.workspace not in active and run.workspace not in locked
        if run.status is Status.PENDING and (first or not run.run_type.changes_state):
            found.setdefault(run.pool, []).append(run)
    return found


def _other(found: Run | None, run: Run) -> Run | None:
    return found if found is not None and found.id != run.id else None


def control_seen(core: Core) -> bool:
    """Tell whether a control worker gave a sign of life in the last half minute."""
    return core.database.read(control.seen_within, ms=CONTROL_SILENT_MS)


def run_to_json(run: Run, waiting: Waiting | None) -> dict[str, Any]:
    """Show a run."""
    return {
        "id": run.id,
        "workspace": run.workspace,
        "task_type": run.run_type,
        "status": run.status,
        "stage": run.stage,
        "attempt": run.attempt,
        "plan_hash": run.plan_hash,
        "changes": {"add": run.changes.add, "change": run.changes.change, "destroy": run.changes.destroy}
        if run.changes
        else None,
        "pool": run.pool,
        "pod_name": run.pod_name,
        "slot_id": run.slot_id,
        "agent_id": run.agent_id,
        "warmup_status": run.warmup_status,
        "start_tier": run.start_tier,
        "tries": run.tries,
        "timings_ms": {phase: {name: run.timings.get(phase, {}).get(name, 0) for name in TIMINGS} for phase in Phase},
        "waiting": {"code": waiting.code, "text": waiting.text} if waiting else None,
        "error": {"code": run.error_code, "text": run.error_text} if run.error_code else None,
        "message": run.message,
        "retry_of": run.retry_of,
        "requested_by": run.requested_by,
        "confirmed_by": run.confirmed_by,
        "confirmed_hash": run.confirmed_hash,
        "auto_apply": run.auto_apply,
        "priority": run.priority,
        "commit": run.commit,
        "terraform_version": run.terraform_version,
        "created_at": rfc3339(run.created_at),
        "confirmed_at": rfc3339(run.confirmed_at),
        "started_at": rfc3339(run.started_at),
        "completed_at": rfc3339(run.completed_at),
        "expires_at": rfc3339(run.expires_at),
    }


def workspace_to_json(workspace: Workspace) -> dict[str, Any]:
    """Show a workspace; the values of its secrets are never shown."""
    return {
        "name": workspace.name,
        "pool": workspace.pool,
        "path": workspace.path,
        "archive": workspace.archive,
        "git": workspace.git,
        "ref": workspace.ref,
        "subdir": workspace.subdir,
        "auto_apply": workspace.auto_apply,
        "variables": dict(workspace.variables),
        "var_files": list(workspace.var_files),
        "environment": dict(workspace.environment),
        "secret_variables": list(workspace.secret_names),
        "secret_environment": list(workspace.secret_environment),
        "terraform_version": workspace.terraform_version,
        "plan_expires_ms": workspace.plan_expires,
        "locked_by": workspace.locked_by,
        "locked_reason": workspace.locked_reason,
        "locked_at": rfc3339(workspace.locked_at),
        "created_at": rfc3339(workspace.created_at),
        "updated_at": rfc3339(workspace.updated_at),
    }


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """Show what is known about an interrupted apply."""
    state = evidence.state
    return {
        "started_at": rfc3339(evidence.started_at),
        "interrupted_at": rfc3339(evidence.interrupted_at),
        "cause": evidence.cause,
        "pod_name": evidence.pod_name,
        "slot_id": evidence.slot_id,
        "agent_id": evidence.agent_id,
        "lease_until": rfc3339(evidence.lease_until),
        "end_proven": evidence.end_proven,
        "managed": state is not None,
        "serial_before": state.serial_before if state else None,
        "serial_now": state.serial_now if state else None,
        "state_version": state.version if state else None,
        "lock": "run" if state else "backend",
        "resources": [
            {"address": seen.address, "action": seen.action, "status": seen.status, "id": seen.id}
            for seen in evidence.resources
        ],
        "errored_state": evidence.errored_state,
    }


def slot_to_json(slot: Slot) -> dict[str, Any]:
    """Show a slot."""
    return {
        "pod_name": slot.pod_name,
        "slot_id": slot.slot_id,
        "queue": slot.queue,
        "pool": slot.pool,
        "status": slot.status,
        "run_id": slot.run_id,
        "task_type": slot.task_type,
        "closed": slot.closed,
        "updated_at": rfc3339(slot.updated_at),
    }


def pod_to_json(pod: Pod, held: list[Slot]) -> dict[str, Any]:
    """Show a pod with the state of its slots."""
    return {
        "name": pod.name,
        "agent_id": pod.agent_id,
        "pool": pod.pool,
        "status": pod.status,
        "slots": pod.slots,
        "running": sum(slot.status == "running" for slot in held),
        "reserved": sum(slot.status == "reserved" for slot in held),
        "generation": pod.generation,
        "protocol": pod.protocol,
        "reason": pod.reason,
        "created_at": rfc3339(pod.created_at),
        "last_heartbeat": rfc3339(pod.last_heartbeat),
    }


def state_to_json(state: StateVersion) -> dict[str, Any]:
    """Show a state version."""
    return {
        "version": state.version,
        "serial": state.serial,
        "lineage": state.lineage,
        "sha256": state.sha256,
        "size": state.size,
        "resources": state.resources,
        "run_id": state.run_id,
        "pushed_by": state.pushed_by,
        "reason": state.reason,
        "created_at": rfc3339(state.created_at),
    }
