"""What must be true of the rows after every single transaction."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from iacq.domain import transitions, warmup
from iacq.domain.run import Run, Status, WarmupStatus
from iacq.domain.slot import Slot, SlotStatus
from iacq.domain.transitions import Cause
from iacq.store import runs, schema, slots
from iacq.store.session import Transaction

HELD_RUNNING = transitions.QUEUED | transitions.RUNNING | {Status.APPLY_INTERRUPTED}
WAITING_AGAIN = frozenset({Status.PENDING, Status.CONFIRMED})
HELD_RESERVED = frozenset({Status.APPLY_PENDING, Status.CONFIRMED})


def broken(tx: Transaction) -> list[str]:
    """Return what is wrong; nothing, if slot rows, run rows and bells agree."""
    return broken_among(tx, runs.listed(tx), slots.listed(tx))


def broken_among(tx: Transaction, every: list[Run], present: list[Slot]) -> list[str]:
    """Return what is wrong, as `broken` does. every: all runs; present: all slots."""
    taken = [slot for slot in present if slot.run_id is not None]
    return [*_slots(every, taken), *_runs(every, taken), *_bells(tx, every), *_workspaces(every)]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One change of a run's state, as it was kept."""

    id: int
    run_id: int
    source: Status | None
    target: Status
    cause: Cause


_EVENT = schema.events.c
_RECORDED = (
    sa.select(_EVENT.id, _EVENT.run_id, _EVENT.source, _EVENT.target, _EVENT.cause)
    .where(_EVENT.id > sa.bindparam("after"))
    .order_by(_EVENT.id)
)
_RUNG = sa.select(schema.outbox.c.run_id, schema.outbox.c.attempt, schema.outbox.c.queue)


def recorded(tx: Transaction, *, after: int = 0) -> list[Recorded]:
    """Return what happened to all runs, oldest first. after: the last one that is known already."""
    return [
        Recorded(
            id=row.id,
            run_id=row.run_id,
            source=Status(row.source) if row.source else None,
            target=Status(row.target),
            cause=Cause(row.cause),
        )
        for row in tx.execute(_RECORDED, {"after": after})
    ]


def undefined(steps: Iterable[Recorded], known: Mapping[int, Status] | None = None) -> Iterator[str]:
    """Say which steps the table of transitions does not have, or do not begin where the run was.

    known: where runs were before the first of these steps.
    """
    last = dict(known or {})
    for step in steps:
        if step.source is not last.get(step.run_id):
            yield f"run {step.run_id} was {last.get(step.run_id)}, and went on from {step.source}"
        if step.source is not None and not transitions.is_allowed(step.source, step.cause, step.target):
            yield f"run {step.run_id} went from {step.source} to {step.target}: {step.cause}"
        last[step.run_id] = step.target


def _slots(every: list[Run], taken: list[Slot]) -> list[str]:
    status_of = {run.id: run.status for run in every}
    found = []
    for slot in taken:
        status = status_of.get(slot.run_id or 0)
        if status not in (HELD_RUNNING if slot.status is SlotStatus.RUNNING else HELD_RESERVED):
            found.append(f"slot {slot.queue} is {slot.status} for run {slot.run_id}, which is {status}")
    holds = Counter(slot.run_id for slot in taken)
    return found + [f"run {run_id} holds {count} slots" for run_id, count in holds.items() if count > 1]


def _runs(every: list[Run], taken: list[Slot]) -> list[str]:
    held = {slot.run_id: slot for slot in taken}
    return [wrong for run in every for wrong in _run(run, held.get(run.id))]


def _run(run: Run, held: Slot | None) -> Iterator[str]:
    working = run.status in transitions.RUNNING
    where = held.queue if held else None
    if run.status in transitions.QUEUED and where != run.queue:
        yield f"run {run.id} is queued in {run.queue} and holds {where}"
    if working and where != f"{run.pod_name}.{run.slot_id}":
        yield f"run {run.id} is {run.status} in {run.pod_name}.{run.slot_id} and holds {where}"
    was_leased = run.status is Status.APPLY_INTERRUPTED  # when its last lease ended is evidence
    if working != (run.owner is not None) or (not was_leased and working != (run.lease_until is not None)):
        yield f"run {run.id} is {run.status} with owner {run.owner}, lease {run.lease_until}"
    if run.status is Status.APPLY_INTERRUPTED and (run.effects_at is None or run.effects_fence is None):
        yield f"run {run.id} is interrupted without effects"
    yield from _warmup(run, held)
    yield from _ended(run)
    if run.effects_at is not None and run.status in (*WAITING_AGAIN, *transitions.QUEUED):
        yield f"run {run.id} is {run.status} although terraform may have applied it"
    if transitions.PHASE_OF.get(run.status) == "apply" and run.confirmed_at is None:
        yield f"run {run.id} is {run.status} without a confirmation"
    if run.status in transitions.ENDED and (run.completed_at is None or run.queue is not None or held):
        yield f"run {run.id} has ended and is not finished with"


def _ended(run: Run) -> Iterator[str]:
    """What was confirmed is not forgotten, and what was cancelled does not go on."""
    if run.confirmed_at is not None and run.status is Status.DISCARDED:
        yield f"run {run.id} was confirmed, and is discarded"
    if run.status is Status.CANCELLED and run.cancel_requested_at is None:
        yield f"run {run.id} is cancelled, and nobody asked for that"
    if run.status is Status.FAILED and run.error_code is None:
        yield f"run {run.id} failed without a reason"
    stopping = transitions.RUNNING | transitions.ENDED | {Status.APPLY_INTERRUPTED}
    if run.cancel_requested_at is not None and run.status not in stopping:
        yield f"run {run.id} was cancelled, and is {run.status}"
    phase = transitions.PHASE_OF.get(run.status)
    if phase is not None and run.tries > transitions.MAX_TRIES[phase]:
        yield f"run {run.id} is {run.status} for the {run.tries}. time"


def _warmup(run: Run, held: Slot | None) -> Iterator[str]:
    prepared = (run.prepared_agent_id, run.prepared_pod_name, run.prepared_slot_id)
    if run.warmup_status in (WarmupStatus.WARMING, WarmupStatus.READY) and run.status != Status.APPLY_INTERRUPTED:
        # Of another boot for a moment: a pod that registers anew gives its reservations up right after.
        if held is None or prepared[1:] != (held.pod_name, held.slot_id):
            yield f"run {run.id} is {run.warmup_status} in {prepared} and holds {held.queue if held else None}"
        if run.warmup_until is None:
            yield f"run {run.id} is {run.warmup_status} for ever"
    elsewhere = held is not None and prepared[1] is not None and prepared[1:] != (held.pod_name, held.slot_id)
    if run.status in HELD_RESERVED and elsewhere:
        yield f"run {run.id} is prepared in {prepared} and holds {held.queue}"
    if run.warmup_status is WarmupStatus.WARMING and run.status not in warmup.SERVED:
        yield f"run {run.id} is {run.status} and being warmed up"
    if run.warmup_status in (WarmupStatus.FAILED, WarmupStatus.EXPIRED) and prepared != (None, None, None):
        yield f"run {run.id}: its warm-up {run.warmup_status} in {prepared}"
    if run.warmup_retries > 3:
        yield f"run {run.id} was warmed up {run.warmup_retries} times"


def _bells(tx: Transaction, every: list[Run]) -> list[str]:
    queued = {(run.id, run.attempt, run.queue) for run in every if run.status in transitions.QUEUED}
    kept = {tuple(row) for row in tx.execute(_RUNG)}
    return [f"queued without a bell, or a bell without a queued run: {odd}" for odd in queued ^ kept]


def _workspaces(every: list[Run]) -> list[str]:
    active = Counter(run.workspace for run in every if run.run_type.changes_state and run.status in transitions.ACTIVE)
    return [f"workspace {name} has {count} active runs" for name, count in active.items() if count > 1]
