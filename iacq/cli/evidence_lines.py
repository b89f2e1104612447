"""What is known about an interrupted apply, in lines for the person who resolves it."""

from __future__ import annotations

from collections.abc import Iterator

from iacq.cli import output
from iacq.domain.run import Run, Status
from iacq.domain.transitions import Cause
from iacq.services.evidence import Evidence, StateEvidence

_MOST_RESOURCES = 100
_CAUSES = {
    Cause.LEASE_LOST: "nothing was heard of its worker any more",
    Cause.POD_GONE: "its pod is gone",
    Cause.END_UNKNOWN: "terraform was killed, or vanished",
    Cause.RESTORED: "the database was restored from a backup, and this apply may have gone on since",
}


def describe(run: Run, evidence: Evidence) -> Iterator[str]:
    """Yield what is known, then what to do."""
    yield ""
    yield "Interrupted apply:"
    for name, value in _facts(run, evidence):
        yield f"  {name + ':':<16} {value}"
    yield from _resources(run, evidence)
    if run.status is Status.APPLY_INTERRUPTED:
        yield ""
        yield from _advice(run, evidence)


def _facts(run: Run, evidence: Evidence) -> Iterator[tuple[str, str]]:
    why = _CAUSES.get(evidence.cause, str(evidence.cause))
    yield "Interrupted", f"{output.moment(evidence.interrupted_at)}: {why}"
    yield "Started", f"{output.moment(evidence.started_at)} in {_slot(evidence)} (agent {evidence.agent_id})"
    if evidence.lease_until is not None:
        yield "Last lease", f"until {output.moment(evidence.lease_until)}"
    alive = f"may still be alive in {_slot(evidence)}"
    yield "Its terraform", "is gone (proven)" if evidence.end_proven else alive
    if evidence.state is not None:
        yield "State", _state(evidence.state)
        if run.status is Status.APPLY_INTERRUPTED:
            yield "Lock", "no other run changes this workspace until this one is resolved"
    else:
        yield "State", "kept by the configuration's own backend"
        yield "Lock", "the backend's may be left behind: the next apply says so, and how it is removed"
    if evidence.errored_state:
        yield "errored.tfstate", f"kept: `iacq state pull {run.workspace} --errored {run.id}`"


def _slot(evidence: Evidence) -> str:
    return f"slot {evidence.slot_id} of pod {evidence.pod_name}"


def _state(state: StateEvidence) -> str:
    before = "none" if state.serial_before is None else f"serial {state.serial_before}"
    if state.serial_now is None:
        return f"{before} before, nothing was written"
    kept = f"version {state.version}" if state.version else "a version once this run is resolved"
    return f"{before} before, serial {state.serial_now} now ({state.resources_now} resources; {kept})"


def _resources(run: Run, evidence: Evidence) -> Iterator[str]:
    named = {
        "done": "Terraform reported as done:",
        "failed": "Terraform reported as failed:",
        "running": "Begun, and no end was reported (look at these first):",
    }
    for status, title in named.items():
        seen = [resource for resource in evidence.resources if resource.status == status]
        if not seen:
            continue
        yield f"  {title}"
        for resource in seen[:_MOST_RESOURCES]:
            identity = f" [id={resource.id}]" if resource.id else ""
            yield f"    {output.printable(f'{resource.address} ({resource.action}){identity}')}"
        if len(seen) > _MOST_RESOURCES:
            yield f"    and {len(seen) - _MOST_RESOURCES} more; `iacq show {run.id} --json` names all"


def _advice(run: Run, evidence: Evidence) -> Iterator[str]:
    if evidence.cause is Cause.RESTORED:
        yield "Make sure that nothing of before the restore is running any more."
    elif not evidence.end_proven:
        yield f"Wait until pod {evidence.pod_name} is back or gone; --force resolves the run all the same."
    state = "the state above" if evidence.state else "the state that its backend has"
    yield f"Look at what really exists, then say how the apply ended; the next plan starts from {state}:"
    yield f"  iacq run resolve {run.id} --applied|--failed --comment '…'"
