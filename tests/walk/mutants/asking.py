"""Rules of what people, the scaler and time do."""

from __future__ import annotations

import dataclasses
from typing import Any

from iacq.domain.run import Run, Status
from iacq.domain.slot import Pod, SlotStatus
from iacq.messages import Doorbell
from iacq.services import confirming, scaling
from iacq.store import outbox, pod_lifecycle, runs, slots
from iacq.store.protocol import waiting, warming
from iacq.store.session import Raced, Transaction
from iacq.store.statement import NOW, TIMESTAMP, Keep
from tests.walk.mutants.mutant import Mutant
from tests.walk.product import Product

_look = scaling.look
_unprepared = warming.unprepared


def _send_and_forget(tx: Transaction) -> list[Doorbell]:
    """A bell that was rung again is taken for answered."""
    bells = outbox.take_due(tx)
    for bell in bells:
        outbox.remove(tx, bell.run_id)
    return bells


def _confirm_whatever_was_read(core: Any, run_id: int, *, plan_hash: str, by: str) -> Run:
    del plan_hash
    run = confirming.get_run(core, run_id)
    return confirming.confirm(core, run_id, plan_hash=run.plan_hash or "", by=by)


def _expire_whatever_it_is(tx: Transaction, run: Run) -> Run:
    """A plan that was confirmed since it was looked at is discarded all the same."""
    present = runs.get(tx, run.id)
    if present is None or present.status is Status.APPLY_PENDING or present.effects_at is not None:
        return _expire(tx, run)
    becomes = {"status": Status.DISCARDED, "completed_ms": NOW, "completed_at": TIMESTAMP, **runs.LOST_PLACE}
    changed = runs.change(tx, run.id, {}, owner=None, lease_until=None, queue=None, **becomes)
    outbox.remove(tx, run.id)
    slots.release(tx, run.id)
    return changed


_expire = waiting.expire


def _look_past_reservations(tx: Transaction, name: str, *, warmups: int) -> scaling.Inputs:
    """A slot that is kept for a confirmation counts as idle."""
    found = _look(tx, name, warmups=warmups)
    hidden = [
        dataclasses.replace(
            pod,
            slots=tuple(
                dataclasses.replace(slot, status=SlotStatus.IDLE, run_id=None)
                if slot.status is SlotStatus.RESERVED
                else slot
                for slot in pod.slots
            ),
        )
        for pod in found.pods
    ]
    demand = dataclasses.replace(found.demand, apply_pending=0, unprepared=0)
    return dataclasses.replace(found, pods=hidden, demand=demand)


def _drain_reserved(tx: Transaction, name: str, *, reason: str) -> Pod:
    """All slots are closed, also one that is kept for a confirmation."""
    drained = pod_lifecycle._drain(tx, name, reason)
    if any(slot.status is SlotStatus.RUNNING for slot in slots.held_in(tx, name)):
        raise Raced
    return drained


def _cancel_whatever_runs(tx: Transaction, run: Run, *, by: str, force: bool) -> Run:
    """Nobody has to say that an apply may be interrupted."""
    del force
    seen = {"status": run.status, "fence": run.fence}
    return runs.change(tx, run.id, seen, cancel_requested_ms=Keep(NOW), cancel_requested_by=Keep(by))


def _unprepared_without_limit(tx: Transaction, *, retries: int) -> list[Run]:
    del retries
    return _unprepared(tx, retries=1_000)


MUTANTS: dict[str, Mutant] = {
    "the outbox forgets at sending": Mutant(
        product=Product(steps={outbox.take_due: _send_and_forget}), favoured={"lose a message": 4, "resend": 4}
    ),
    "a confirmation is for whatever the plan is": Mutant(
        product=Product(confirm=_confirm_whatever_was_read), favoured={"confirm": 2}
    ),
    "an expiry does not look for a confirmation": Mutant(
        product=Product(steps={waiting.expire: _expire_whatever_it_is}),
        favoured={"a long time passes": 3, "expire plans": 8, "confirm": 2},
    ),
    "the scaler ignores reservations": Mutant(
        product=Product(steps={scaling.look: _look_past_reservations, pod_lifecycle.drain_if_idle: _drain_reserved}),
        favoured={"time passes": 6, "confirm": 0.05, "begin an apply": 0.05, "reconcile pods": 2},
        seeds=(2, 4),
    ),
    "a cancel ignores effects": Mutant(
        product=Product(steps={waiting.request_cancel: _cancel_whatever_runs}),
        favoured={"cancel": 10, "begin an apply": 6},
    ),
    "a run is warmed up without end": Mutant(
        product=Product(steps={warming.unprepared: _unprepared_without_limit}),
        favoured={
            "begin warm-ups": 3,
            "expire warm-ups": 3,
            "give up a reservation": 5,
            "confirm": 0.05,
            "begin an apply": 0.05,
        },
        seeds=(12, 4),
    ),
}
