"""Rules of the process that works on a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iacq.domain import transitions
from iacq.domain.run import Phase, Run, StartTier, Status
from iacq.domain.slot import Place, Slot
from iacq.domain.transitions import Cause
from iacq.messages import Doorbell
from iacq.services.phases import runner
from iacq.services.phases.context import PhaseContext
from iacq.services.phases.plan import Planned
from iacq.store import artifacts, freezes, outbox, runs, slots
from iacq.store.protocol import owning, recovering, waiting
from iacq.store.protocol.owning import Hold, PlanResult
from iacq.store.session import Transaction
from iacq.store.statement import After, Plus
from tests.walk.mutants.mutant import Mutant
from tests.walk.product import Product

_EXPIRES_MS = 7 * 86_400_000


def _claim_whatever_the_attempt(
    tx: Transaction, run_id: int, phase: Phase, attempt: int, place: Place, *, lease_ms: int
) -> tuple[Run, None]:
    """A message of another attempt is taken for the present one, and neither queue nor slot are looked at."""
    del attempt
    run = _claim(tx, run_id, phase, {}, place, lease_ms)
    freezes.require_open(tx, run.pool)
    return run, None


def _claim_in_a_freeze(
    tx: Transaction, run_id: int, phase: Phase, attempt: int, place: Place, *, lease_ms: int
) -> tuple[Run, None]:
    seen = {"attempt": attempt, "queue": place.queue, "cancel_requested_ms": None}
    run = _claim(tx, run_id, phase, seen, place, lease_ms)
    slots.confirm_hold(tx, run_id, place)
    return run, None


def _claim(tx: Transaction, run_id: int, phase: Phase, seen: Mapping[str, Any], place: Place, lease_ms: int) -> Run:
    run = runs.transition(
        tx,
        run_id,
        Cause.CLAIMED,
        owning.QUEUED_FOR[phase],
        owning.RUNNING_IN[phase],
        seen,
        fence=Plus(1),
        tries=Plus(1),
        owner=place.owner,
        lease_until=After(lease_ms),
        agent_id=place.agent_id,
        pod_name=place.pod_name,
        slot_id=place.slot_id,
        queue=place.queue,
        freeze_requested_ms=None,
    )
    outbox.remove(tx, run_id)
    return run


def _dispatch_in_a_freeze(tx: Transaction, run: Run, slot: Slot) -> Doorbell:
    target = Status.PLAN_QUEUED if run.status is Status.PENDING else Status.APPLY_QUEUED
    seen, becomes = {"attempt": run.attempt}, {"attempt": run.attempt + 1, "queue": slot.queue}
    queued = runs.transition(tx, run.id, Cause.DISPATCHED, run.status, target, seen, **becomes)
    if slots.release(tx, run.id):
        runs.lose_place(tx, run.id)
    slots.take(tx, slot, run)
    return outbox.put(tx, queued, transitions.PHASE_OF[target], slot.queue)


def _start_unmarked(tx: Transaction, hold: Hold, tier: StartTier) -> Run:
    """Terraform is started, and the row does not say that it may have effects."""
    return runs.change(tx, hold.run_id, hold.seen, start_tier=tier)


def _finish_all_the_same(tx: Transaction, ctx: PhaseContext, planned: Planned, end: Any) -> Any:
    """A plan that was cancelled meanwhile waits for a confirmation."""
    present = runs.get(tx, ctx.run.id)
    if present is None or present.cancel_requested_at is None or end[0] is not Status.APPLY_PENDING:
        return _finish(tx, ctx, ctx.hold, planned, end)
    values = {**end[1], "expires_ms": After(_EXPIRES_MS), "plan_fence": ctx.hold.fence, "tries": 0, "queue": None}
    values |= {"owner": None, "lease_until": None}
    target = Status.APPLY_PENDING
    finished = runs.transition(tx, ctx.run.id, Cause.FINISHED, Status.PLANNING, target, ctx.hold.seen, **values)
    slots.reserve(tx, ctx.run.id)
    return finished, None


def _finish(tx: Transaction, ctx: PhaseContext, hold: Hold, planned: Planned, end: Any) -> Any:
    result = PlanResult(status=end[0], values=end[1], expires_in_ms=_EXPIRES_MS)
    finished = owning.finish_plan(tx, hold, ctx.worker.place, result)
    artifacts.record(tx, ctx.run.id, planned.artifacts or [])
    return finished


def _adopt_with_the_old_fence(tx: Transaction, run_id: int, effects_fence: int, place: Place, *, lease_ms: int) -> Run:
    """The process that was replaced may still write."""
    run = runs.change(
        tx, run_id, {"status": (Status.APPLYING, Status.APPLY_INTERRUPTED), "effects_fence": effects_fence}
    )
    slots.confirm_hold(tx, run_id, place)
    becomes = {"owner": place.owner, "lease_until": After(lease_ms), "queue": place.queue, "agent_id": place.agent_id}
    return runs.transition(tx, run_id, Cause.ADOPTED, run.status, Status.APPLYING, {}, **becomes)


MUTANTS: dict[str, Mutant] = {
    "a claim looks at neither attempt nor slot": Mutant(
        product=Product(steps={runner.claim: _claim_whatever_the_attempt}),
        favoured={
            "double a message": 4,
            "leases run out": 5,
            "check agents": 8,
            "dispatch": 2,
            "a machine crashes": 0.1,
        },
    ),
    "only the scaler asks about a freeze": Mutant(
        product=Product(steps={runner.claim: _claim_in_a_freeze, waiting.dispatch: _dispatch_in_a_freeze}),
        favoured={"freeze": 6, "deliver": 2, "dispatch": 2, "apply freeze windows": 0.1},
    ),
    "effects are not marked before terraform starts": Mutant(
        product=Product(steps={owning.pass_point_of_no_return: _start_unmarked}), favoured={"leases run out": 3}
    ),
    "a finished plan does not look for a cancel": Mutant(
        product=Product(steps={runner._finish_plan: _finish_all_the_same}),
        favoured={"cancel": 4, "deliver": 4, "plan in one go": 0.1},
        seeds=(9, 4),
    ),
    "an adopted apply keeps its fence": Mutant(
        product=Product(steps={recovering.adopt: _adopt_with_the_old_fence}),
        favoured={"kill a slot's process": 2, "a slot begins anew": 3, "kill a keeper": 0.1},
    ),
}
