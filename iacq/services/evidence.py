"""What is known about an interrupted apply, for the person who resolves it.

All of it is read from what is stored (events, log, states, slot rows), so that it is there if the pod is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from iacq.domain import apply_log, transitions
from iacq.domain.apply_log import Seen
from iacq.domain.run import Phase, Run, Status
from iacq.domain.transitions import Cause
from iacq.services import states as state_service
from iacq.services.core import Core
from iacq.store import artifacts, logs, runs, slots, states
from iacq.store.protocol import recovering
from iacq.store.runs import Event
from iacq.store.session import Transaction


@dataclass(frozen=True, kw_only=True)
class StateEvidence:
    """The managed state around the apply."""

    serial_before: int | None  # None: there was no state
    serial_now: int | None  # None: there still is none
    resources_now: int
    version: int | None  # in which it is kept; None: it is the working state, a version once the run is resolved


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """About one interrupted apply. Times are ms since the epoch."""

    started_at: int | None  # the point of no return
    interrupted_at: int
    cause: Cause  # lease_lost, pod_gone, end_unknown or restored
    pod_name: str | None
    slot_id: int | None
    agent_id: str | None
    lease_until: int | None  # None: the run was resolved or adopted since
    end_proven: bool  # nothing of that terraform is alive
    state: StateEvidence | None  # None: the configuration's own backend keeps it
    resources: tuple[Seen, ...]  # what terraform reported, of each resource that it began
    errored_state: bool  # its errored.tfstate is kept with the run


def gather(core: Core, run: Run) -> Evidence | None:
    """Return what is known; None if the run's apply was never interrupted."""
    return core.database.read(_gather, run)


def _gather(tx: Transaction, run: Run) -> Evidence | None:
    events = runs.events_of(tx, run.id)
    interrupted = [event for event in events if event.target is Status.APPLY_INTERRUPTED]
    if not interrupted:
        return None
    return Evidence(
        started_at=run.effects_at,
        interrupted_at=interrupted[-1].at,
        cause=interrupted[-1].cause,
        pod_name=run.pod_name,
        slot_id=run.slot_id,
        agent_id=run.agent_id,
        lease_until=run.lease_until,
        end_proven=is_end_proven(tx, run, events),
        state=_state(tx, run),
        resources=apply_log.read(_lines(tx, run.id)),
        errored_state=artifacts.find(tx, run.id, state_service.ERRORED) is not None,
    )


def is_end_proven(tx: Transaction, run: Run, events: Sequence[Event]) -> bool:
    """Tell whether nothing of the terraform that applied this run can be alive.

    After a restore of the database nothing is proven: what its rows say of processes is of before.
    """
    if any(event.cause is Cause.RESTORED for event in events):
        return False
    if run.status in transitions.ENDED:
        forced = (event.details or "" for event in events if event.cause is Cause.RESOLVED)
        return not any(details.startswith(recovering.FORCED) for details in forced)
    return run.status is Status.APPLY_INTERRUPTED and slots.held_by(tx, run.id) is None


def _state(tx: Transaction, run: Run) -> StateEvidence | None:
    before = run.planned_state
    if before is None:
        return None
    working = states.working(tx, run.workspace)
    if working is not None and working.run_id == run.id:
        return StateEvidence(
            serial_before=before["serial"],
            serial_now=working.serial,
            resources_now=working.resources,
            version=None,
        )
    written = [version for version in states.listed(tx, run.workspace) if version.run_id == run.id]
    now = written[0] if written else states.current(tx, run.workspace)
    return StateEvidence(
        serial_before=before["serial"],
        serial_now=now.serial if now else None,
        resources_now=now.resources if now else 0,
        version=now.version if now else None,
    )


def _lines(tx: Transaction, run_id: int) -> Iterator[str]:
    offset, rest = 0, ""
    while chunks := logs.read(tx, run_id, phase=Phase.APPLY, offset=offset):
        for chunk in chunks:
            offset = chunk.end
            *lines, rest = (rest + chunk.text).split("\n")
            yield from lines
    yield rest
