"""What must be true of the rows after every single transaction."""

from collections import Counter

import sqlalchemy as sa

from iacq.domain import transitions
from iacq.domain.run import Status
from iacq.domain.slot import SlotStatus
from iacq.store import runs, schema, slots
from iacq.store.session import Transaction

HELD_RUNNING = transitions.QUEUED | transitions.RUNNING | {Status.APPLY_INTERRUPTED}
HELD_RESERVED = frozenset({Status.APPLY_PENDING, Status.CONFIRMED})


def broken(tx: Transaction) -> list[str]:
    """Return what is wrong; nothing, if slot rows, run rows and bells agree."""
    return [*_slots(tx), *_runs(tx), *_bells(tx), *_workspaces(tx)]


def _slots(tx: Transaction) -> list[str]:
    known = {run.id: run for run in runs.listed(tx)}
    found = []
    for slot in slots.listed(tx):
        if slot.run_id is None:
            continue
        status = known[slot.run_id].status
        allowed = HELD_RUNNING if slot.status is SlotStatus.RUNNING else HELD_RESERVED
        if status not in allowed:
            found.append(f"slot {slot.queue} is {slot.status} for run {slot.run_id}, which is {status}")
    holds = Counter(slot.run_id for slot in slots.listed(tx) if slot.run_id is not None)
    return found + [f"run {run_id} holds {count} slots" for run_id, count in holds.items() if count > 1]


def _runs(tx: Transaction) -> list[str]:
    held = {slot.run_id: slot for slot in slots.listed(tx) if slot.run_id is not None}
    found = []
    for run in runs.listed(tx):
        working = run.status in transitions.RUNNING
        if run.status in transitions.QUEUED | transitions.RUNNING and run.id not in held:
            found.append(f"run {run.id} is {run.status} and holds no slot")
        if run.status in transitions.QUEUED and run.id in held and held[run.id].queue != run.queue:
            found.append(f"run {run.id} is queued in {run.queue} and holds {held[run.id].queue}")
        if working != (run.owner is not None) or working != (run.lease_until is not None):
            found.append(f"run {run.id} is {run.status} with owner {run.owner}, lease {run.lease_until}")
        if run.status is Status.APPLY_INTERRUPTED and (run.effects_at is None or run.effects_fence is None):
            found.append(f"run {run.id} is interrupted without effects")
        if transitions.PHASE_OF.get(run.status) == "apply" and run.confirmed_at is None:
            found.append(f"run {run.id} is {run.status} without a confirmation")
        if run.status in transitions.ENDED and (run.completed_at is None or run.queue is not None):
            found.append(f"run {run.id} has ended and is not finished with")
    return found


def _bells(tx: Transaction) -> list[str]:
    queued = {(r.id, r.attempt, r.queue) for r in runs.listed(tx, statuses=transitions.QUEUED)}
    table = schema.outbox.c
    kept = {tuple(row) for row in tx.execute(sa.select(table.run_id, table.attempt, table.queue))}
    return [f"queued without a bell, or a bell without a queued run: {odd}" for odd in queued ^ kept]


def _workspaces(tx: Transaction) -> list[str]:
    active = Counter(
        run.workspace for run in runs.listed(tx, statuses=transitions.ACTIVE) if run.run_type.changes_state
    )
    return [f"workspace {name} has {count} active runs" for name, count in active.items() if count > 1]
