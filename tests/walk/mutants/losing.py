"""Rules of what is done after a worker was lost."""

from __future__ import annotations

from typing import Any

from iacq.domain import transitions
from iacq.domain.run import Run, Status
from iacq.domain.transitions import Cause
from iacq.services import recovering as service
from iacq.services.phases import remains
from iacq.services.recovering import LeaseWatch
from iacq.store import runs, slots
from iacq.store.protocol import owning, recovering
from iacq.store.session import Transaction
from tests.walk.mutants.mutant import Mutant
from tests.walk.product import Product

_BACK = {Status.PLANNING: Status.PENDING, Status.APPLYING: Status.CONFIRMED}
_resolve = recovering.resolve
_lose_lease = recovering.lose_lease


def _forget_effects(tx: Transaction, seen: Run) -> Run:
    """Whatever terraform may have done, the apply is started again."""
    run = runs.change(tx, seen.id, {"status": seen.status, "fence": seen.fence})
    return owning.way_back(tx, run, Cause.LEASE_LOST)


def _keep_the_owner(tx: Transaction, seen: Run) -> Run:
    """The fence stays, and so does the owner: whoever was paused goes on as if nothing had been."""
    target = _BACK[seen.status]
    run = runs.transition(tx, seen.id, Cause.LEASE_LOST, seen.status, target, {"fence": seen.fence})
    slots.release(tx, run.id)
    return run


def _keep_the_fence(tx: Transaction, seen: Run) -> Run:
    """The owner is gone from the row, and its fence is the one of the next."""
    if seen.effects_at is not None or seen.cancel_requested_at is not None:
        return _lose_lease(tx, seen)
    becomes: dict[str, Any] = {"owner": None, "lease_until": None, "queue": None, "stage": None}
    run = runs.transition(
        tx, seen.id, Cause.LEASE_LOST, seen.status, _BACK[seen.status], {"fence": seen.fence}, **becomes
    )
    slots.release(tx, run.id)
    runs.lose_place(tx, run.id)
    return run


def _forget_the_cancel(tx: Transaction, seen: Run) -> Run:
    """What was cancelled goes back to where it began."""
    if seen.effects_at is not None or seen.cancel_requested_at is None:
        return _lose_lease(tx, seen)
    becomes: dict[str, Any] = {"fence": seen.fence + 1, "owner": None, "lease_until": None, "queue": None}
    run = runs.transition(
        tx, seen.id, Cause.LEASE_LOST, seen.status, _BACK[seen.status], {"fence": seen.fence}, **becomes
    )
    slots.release(tx, run.id)
    runs.lose_place(tx, run.id)
    return run


def _free_the_slot(tx: Transaction, seen: Run) -> Run:
    """Nobody knows what became of its terraform, and the slot is given to others."""
    run = _lose_lease(tx, seen)
    slots.release(tx, run.id)
    return run


def _free_slots_of_the_interrupted(tx: Transaction) -> int:
    settled = {*transitions.ENDED, Status.PENDING, Status.APPLY_INTERRUPTED}
    return sum(slots.release_at(tx, slot) for slot, status in slots.stale(tx) if status in settled)


def _apply_again(tx: Transaction, run_id: int, effects_fence: int, kept: Any = None) -> Run:
    """A dead apply is tried again."""
    del kept
    seen = {"status": Status.APPLY_INTERRUPTED, "effects_fence": effects_fence}
    cleared: dict[str, Any] = {"effects_at_ms": None, "effects_fence": None, "lease_until": None, **runs.LOST_PLACE}
    run = runs.change(tx, run_id, seen, status=Status.CONFIRMED, **cleared)
    slots.release(tx, run_id)
    return run


def _resolve_without_proof(tx: Transaction, run: Run, target: Status, **said: Any) -> Run:
    return _resolve(tx, run, target, **{**said, "force": True})


class _OneLook(LeaseWatch):
    """What is expired now is lost now."""

    def confirmed(self, expired: list[Run], now: float, apart: float) -> list[Run]:
        del now, apart
        return expired


_PAUSED = {"leases run out": 4, "begin an apply": 2}

MUTANTS: dict[str, Mutant] = {
    "a lost lease forgets effects": Mutant(
        product=Product(steps={recovering.lose_lease: _forget_effects}), favoured=_PAUSED
    ),
    "a lost lease keeps its owner": Mutant(
        product=Product(steps={recovering.lose_lease: _keep_the_owner}), favoured=_PAUSED
    ),
    "a lost lease keeps its fence": Mutant(
        product=Product(steps={recovering.lose_lease: _keep_the_fence}), favoured=_PAUSED
    ),
    "a lost lease forgets a cancel": Mutant(
        product=Product(steps={recovering.lose_lease: _forget_the_cancel}),
        favoured={"leases run out": 4, "cancel": 3, "deliver": 4, "plan in one go": 0.1},
        seeds=(9, 4),
    ),
    "a lost lease frees the slot of a living terraform": Mutant(
        product=Product(steps={recovering.lose_lease: _free_the_slot}), favoured=_PAUSED
    ),
    "a lease is judged at one look": Mutant(
        product=Product(watch=_OneLook),
        favoured=_PAUSED,
    ),
    "the slot of an interrupted apply counts as stale": Mutant(
        product=Product(steps={service._free_stale_slots: _free_slots_of_the_interrupted}),
        favoured=_PAUSED,
    ),
    "a dead apply is tried again": Mutant(
        product=Product(steps={remains.prove_end: _apply_again, recovering.prove_end: _apply_again}),
        favoured={
            "begin an apply": 4,
            "kill a slot's process": 4,
            "a terraform vanishes": 8,
            "leases run out": 3,
            "a slot looks": 3,
        },
        seeds=(13, 4),
    ),
    "an interrupted apply is resolved without proof": Mutant(
        product=Product(steps={recovering.resolve: _resolve_without_proof}),
        favoured={"leases run out": 4, "begin an apply": 4, "resolve": 10, "an orphan ends": 0.1},
        seeds=(21, 4),
    ),
}
