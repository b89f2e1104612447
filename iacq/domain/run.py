"""A run: one request to plan, or to plan and apply, a workspace."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class RunType(enum.StrEnum):
    """What a run was asked to do."""

    PLAN = "plan"  # speculative: nothing can be applied from it
    PLAN_AND_APPLY = "plan_and_apply"
    DESTROY = "destroy"  # a plan_and_apply with -destroy
    DRIFT = "drift"  # a refresh-only plan

    @property
    def changes_state(self) -> bool:
        """Tell whether an apply may follow. One such run of a workspace is active at a time."""
        return self in (RunType.PLAN_AND_APPLY, RunType.DESTROY)


class Phase(enum.StrEnum):
    """Half of a run; each is one Celery task in one slot."""

    PLAN = "plan"
    APPLY = "apply"


class Status(enum.StrEnum):
    """Where a run is. `iacq.domain.transitions` says which follows which."""

    PENDING = "pending"
    PLAN_QUEUED = "plan_queued"
    PLANNING = "planning"
    APPLY_PENDING = "apply_pending"
    CONFIRMED = "confirmed"
    APPLY_QUEUED = "apply_queued"
    APPLYING = "applying"
    APPLY_INTERRUPTED = "apply_interrupted"  # terraform had started, its worker vanished: effect unknown
    SUCCESS = "success"
    PLANNED_AND_FINISHED = "planned_and_finished"  # nothing to do
    APPLIED = "applied"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


class StartTier(enum.StrEnum):
    """How an apply began."""

    HOT = "hot"  # the kept directory of the plan, no init
    WARM = "warm"  # a warmed-up or restored directory, no init
    COLD = "cold"  # init, then the stored plan


class WarmupStatus(enum.StrEnum):
    """How far the preparation of a run in another slot than its plan's is. `iacq.domain.warmup` says what follows."""

    NONE = "none"
    WARMING = "warming"
    READY = "ready"
    EXPIRED = "expired"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """terraform's own options of a run, frozen when it is enqueued."""

    targets: tuple[str, ...] = ()
    replacements: tuple[str, ...] = ()
    refresh: bool = True
    parallelism: int | None = None  # None: terraform's default
    unlock: str | None = None  # id of a lock in the configuration's own backend, removed before the plan


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Counts of the plan, for people. Whether there is anything to do is the plan's exit code, never these."""

    add: int
    change: int
    destroy: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """One row of `workspace_tasks` that iacq wrote. Times are milliseconds since the epoch, by the database's clock."""

    id: int
    workspace: str
    run_type: RunType
    status: Status
    pool: str
    priority: int  # -100..100, higher first
    auto_apply: bool
    message: str | None
    requested_by: str
    idempotency_key: str | None
    retry_of: int | None  # the ended run that this one asks for again
    stage: str | None  # present step: fetch, init, plan, show, store, verify, apply, save; None: no phase runs
    attempt: int  # names a message; grows over both phases
    tries: int  # claims of the present phase
    fence: int  # grows with each claim and each taking-away; every write of an owner names it
    owner: str | None  # agent id / slot / process boot of the claim that holds the run
    lease_until: int | None  # ms; of an interrupted apply: of its last lease
    queue: str | None  # `pod.slot` where it is queued or running
    plan_fence: int | None  # fence of the claim that made the stored plan: names its directory
    effects_at: int | None  # when the point of no return was passed
    effects_fence: int | None  # by which claim
    agent_id: str | None  # agent, pod and slot of the plan
    pod_name: str | None
    slot_id: int | None
    prepared_agent_id: str | None  # where the run is prepared now; None: lost
    prepared_pod_name: str | None
    prepared_slot_id: int | None
    warmup_status: WarmupStatus
    warmup_fence: int | None  # fence of the warm-up that a slot took: names its directory; None: nobody took it yet
    warmup_retries: int  # warm-ups that were begun, in the run's whole life
    warmup_until: int | None  # while warming: when it has failed; ready: when it expires
    plan_hash: str | None  # SHA-256 of plan.out, hex
    fingerprint: Mapping[str, Any] | None  # what a hot or warm start must find unchanged (domain.tiers)
    changes: Changes | None
    confirmed_at: int | None
    confirmed_by: str | None
    confirmed_hash: str | None
    confirmed_comment: str | None
    cancel_requested_at: int | None
    cancel_requested_by: str | None
    freeze_requested_at: int | None  # when the owner of this claim was asked to stop, since the pool froze
    expires_at: int | None  # an unconfirmed plan is discarded then
    start_tier: StartTier | None
    timings: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # phase → step → ms
    error_code: str | None
    error_text: str | None
    needs_protocol: int  # of whoever goes on with it (`versions`): what is stored for it has that format
    commit: str | None  # git commit of the source
    terraform_version: str | None
    created_at: int
    queued_at: int | None  # when the present phase could have started: enqueued, or confirmed
    started_at: int | None
    completed_at: int | None

    @property
    def planned_state(self) -> Mapping[str, Any] | None:
        """Lineage and serial of the managed state at the plan; None: not managed by iacq, or not planned."""
        return self.fingerprint.get("state") if self.fingerprint else None


def directory_name(run_id: int, fence: int | None) -> str:
    """Name the directory that a claim of a run made in its slot. fence: of the claim; None: it never made one."""
    return f"{run_id}-{fence}"
