"""Steps of the process that holds the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from iacq.domain import recovery, transitions, versions
from iacq.domain.run import Phase, Run, StartTier, Status, WarmupStatus
from iacq.domain.slot import Place
from iacq.domain.transitions import Cause
from iacq.messages import Doorbell
from iacq.store import freezes, outbox, runs, slots
from iacq.store.protocol import waiting
from iacq.store.schema import runs as table
from iacq.store.session import Raced, Transaction
from iacq.store.statement import NOW, SET, TIMESTAMP, After, Condition, Keep, Plus

QUEUED_FOR = {Phase.PLAN: Status.PLAN_QUEUED, Phase.APPLY: Status.APPLY_QUEUED}
FIRST_STAGE = {Phase.PLAN: "fetch", Phase.APPLY: "verify"}
RUNNING_IN = {Phase.PLAN: Status.PLANNING, Phase.APPLY: Status.APPLYING}


@dataclass(frozen=True, kw_only=True)
class Hold:
    """What an owner names in each write."""

    run_id: int
    phase: Phase
    fence: int
    owner: str

    @property
    def seen(self) -> dict[str, Any]:
        """The run is still ours."""
        return {"status": RUNNING_IN[self.phase], "fence": self.fence, "owner": self.owner}


READABLE = Condition(table.c.needs_protocol <= versions.PROTOCOL)
"""What is stored for the run can be read by this version."""


def claim(tx: Transaction, run_id: int, phase: Phase, attempt: int, place: Place, *, lease_ms: int) -> Run:
    """<phase>_queued → planning/applying: take the run whose bell was rung. A message of another attempt is inert.

    So is that of a run which only a newer version can read.
    In a frozen pool nothing is claimed: the run goes back when the freeze gets to it.
    """
    run = runs.transition(
        tx,
        run_id,
        Cause.CLAIMED,
        QUEUED_FOR[phase],
        RUNNING_IN[phase],
        {"attempt": attempt, "queue": place.queue, "cancel_requested_ms": None, "needs": READABLE},
        details=place.owner,
        fence=Plus(1),
        tries=Plus(1),
        owner=place.owner,
        lease_until=After(lease_ms),
        stage=FIRST_STAGE[phase],
        agent_id=place.agent_id,
        pod_name=place.pod_name,
        slot_id=place.slot_id,
        started_ms=Keep(NOW),
        started_at=Keep(TIMESTAMP),
        freeze_requested_ms=None,
    )
    if run.warmup_status is WarmupStatus.WARMING:
        run = runs.lose_place(tx, run_id)  # one thing at a time: whoever warmed it up here is dead
    slots.confirm_hold(tx, run_id, place)
    freezes.require_open(tx, run.pool)
    outbox.remove(tx, run_id)
    return run


def renew(tx: Transaction, hold: Hold, *, lease_ms: int, stage: str) -> Run:
    """Extend the lease and say which step runs; the answer carries a requested cancel.

    Raises Raced if the run is not ours any more.
    """
    return runs.change(tx, hold.run_id, hold.seen, lease_until=After(lease_ms), stage=stage)


def record_commit(tx: Transaction, hold: Hold, commit: str) -> Run:
    """Say what the ref of its source was when this claim fetched it."""
    return runs.change(tx, hold.run_id, hold.seen, git_commit=commit)


_NONE_BUT_OURS = Condition(sa.or_(table.c.effects_at_ms.is_(None), table.c.effects_fence == table.c.fence))


def pass_point_of_no_return(tx: Transaction, hold: Hold, tier: StartTier) -> Run:
    """Say durably, before terraform is started, that this apply may have effects from now on."""
    return runs.change(
        tx,
        hold.run_id,
        {**hold.seen, "cancel_requested_ms": None, "freeze_requested_ms": None, "effects": _NONE_BUT_OURS},
        within_lease=True,
        effects_at_ms=NOW,
        effects_fence=hold.fence,
        start_tier=tier,
        stage="apply",
    )


def cancel_before_effects(tx: Transaction, hold: Hold) -> Run:
    """applying → cancelled: the point of no return was refused because somebody asked to cancel."""
    cancelled = runs.transition(
        tx,
        hold.run_id,
        Cause.CANCELLED,
        Status.APPLYING,
        Status.CANCELLED,
        {**hold.seen, "cancel_requested_ms": SET, "effects_at_ms": None},
    )
    slots.release(tx, hold.run_id)
    return cancelled


def give_back(tx: Transaction, hold: Hold, cause: Cause, *, counted: bool = True) -> Run:
    """The claim came to nothing and its owner says so: not started, end of a plan unknown, stopping pod, freeze.

    `not_started` clears the effects, on the word of a keeper that terraform never will be started for this fence.
    """
    run = runs.change(
        tx, hold.run_id, {**hold.seen, "freeze_requested_ms": SET} if cause is Cause.FROZEN else hold.seen
    )
    if run.effects_at is not None and cause is not Cause.NOT_STARTED:
        raise Raced
    return way_back(tx, run, cause, counted=counted)


def way_back(tx: Transaction, run: Run, cause: Cause, *, counted: bool = True) -> Run:
    """Take a run, whose row this transaction has locked, from its owner: pending/confirmed, cancelled or failed."""
    target = recovery.decide_way_back(run, counted=counted)
    values: dict[str, Any] = {"error_code": None, "error_text": None}
    if target is Status.FAILED:
        values = {
            "error_code": "tries_used_up",
            "error_text": f"the {transitions.PHASE_OF[run.status]} came to nothing {run.tries} times",
        }
    back = runs.transition(
        tx,
        run.id,
        cause,
        run.status,
        target,
        {"fence": run.fence},
        details=run.owner,
        fence=run.fence + 1,
        tries=recovery.tries_after(run, counted=counted),
        owner=None,
        lease_until=None,
        queue=None,
        stage=None,
        effects_at_ms=None,
        effects_fence=None,
        **values,
    )
    kept = target is Status.CONFIRMED and cause is not Cause.FROZEN and slots.reserve(tx, run.id)
    if not kept:
        slots.release(tx, run.id)
        runs.lose_place(tx, run.id)
    return back


@dataclass(frozen=True, kw_only=True)
class PlanResult:
    """What a finished plan stores with its run."""

    status: Status  # success, planned_and_finished, apply_pending, failed or cancelled
    values: Mapping[str, Any]  # columns: plan_hash, fingerprint, changes, timings, error, ...
    expires_in_ms: int


def finish_plan(tx: Transaction, hold: Hold, place: Place, result: PlanResult) -> tuple[Run, Doorbell | None]:
    """planning → its end, or apply_pending with the slot kept; a requested cancel comes before everything else.

    No slot is kept where it is closed or the pool is frozen.
    """
    try:
        values = _ending(hold, place, result)
        finished = _end_plan(tx, hold, result.status, {"cancel_requested_ms": None}, values)
    except Raced:
        finished = _end_plan(tx, hold, Status.CANCELLED, {"cancel_requested_ms": SET}, result.values)
    if finished.status is not Status.APPLY_PENDING:
        slots.release(tx, finished.id)
        return finished, None
    if not (slots.reserve(tx, finished.id) and freezes.is_open(tx, finished.pool)):
        slots.release(tx, finished.id)
        finished = runs.lose_place(tx, finished.id)
    if not finished.auto_apply:
        return finished, None
    return waiting.confirm(tx, finished, by=finished.requested_by, comment="auto_apply", cause=Cause.AUTO_APPLIED)


def _ending(hold: Hold, place: Place, result: PlanResult) -> Mapping[str, Any]:
    if result.status is not Status.APPLY_PENDING:
        return result.values
    return {
        **result.values,
        "expires_ms": After(result.expires_in_ms),
        "plan_fence": hold.fence,
        "tries": 0,
        "owner": None,
        "lease_until": None,
        "queue": None,
        "stage": None,
        "warmup_agent_id": place.agent_id,
        "warmup_pod_name": place.pod_name,
        "warmup_slot_id": place.slot_id,
    }


def _end_plan(tx: Transaction, hold: Hold, target: Status, seen: Mapping[str, Any], values: Mapping[str, Any]) -> Run:
    text = values.get("error_text")
    return runs.transition(
        tx, hold.run_id, Cause.FINISHED, Status.PLANNING, target, {**hold.seen, **seen}, details=text, **values
    )


def finish_apply(tx: Transaction, /, hold: Hold, target: Status, **values: Any) -> Run:
    """applying → its true end, whatever was asked meanwhile."""
    finished = runs.transition(
        tx,
        hold.run_id,
        Cause.FINISHED,
        Status.APPLYING,
        target,
        hold.seen,
        details=values.get("error_text"),
        **values,
    )
    slots.release(tx, hold.run_id)
    return finished


def interrupt(tx: Transaction, /, hold: Hold, **values: Any) -> Run:
    """applying → apply_interrupted: terraform is gone and left no result. Its end is proven, so the slot is free."""
    interrupted = runs.transition(
        tx,
        hold.run_id,
        Cause.END_UNKNOWN,
        Status.APPLYING,
        Status.APPLY_INTERRUPTED,
        {**hold.seen, "effects_at_ms": SET},
        fence=Plus(1),
        owner=None,
        queue=None,
        stage=None,
        **values,
    )
    slots.release(tx, hold.run_id)
    return interrupted
