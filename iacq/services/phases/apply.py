"""The steps of an apply up to its start: verify, prepare, the point of no return. `ending` has the rest."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from iacq import log
from iacq.domain import terraform_commands, tiers
from iacq.domain.run import StartTier
from iacq.domain.terraform_commands import PLAN_FILE
from iacq.domain.tiers import Found
from iacq.domain.transitions import Cause
from iacq.errors import PhaseFailed, Unavailable
from iacq.keeper import files
from iacq.services.phases import initializing, job
from iacq.services.phases.context import PhaseContext
from iacq.services.phases.lease import LeaseLost
from iacq.services.phases.plan import take_fingerprint
from iacq.store import states as state_rows
from iacq.store.protocol import owning

logger = log.get(__name__)


def verify(ctx: PhaseContext) -> StartTier:
    """Compare this place with what the plan recorded, check by check, and say how the apply starts."""
    name = f"{ctx.run.id}-{ctx.run.plan_fence}"
    ctx.managed = ctx.run.planned_state is not None
    ctx.state = _present_state(ctx) if ctx.managed else None
    ctx.tree = ctx.worker.workshop.kept(name, name)
    decision = tiers.decide_start_tier(tiers.recorded_of(ctx.run), _found(ctx))
    ctx.log.write("\n".join(decision.lines))
    return decision.tier


def _present_state(ctx: PhaseContext) -> dict[str, object]:
    version = ctx.persist(lambda: ctx.core.database.read(state_rows.current, ctx.run.workspace))
    if version is None:
        return {"lineage": None, "serial": None}
    return {"lineage": version.lineage, "serial": version.serial}


def _found(ctx: PhaseContext) -> Found:
    place, tree = ctx.worker.place, ctx.tree
    plan_hash = None
    if tree is not None:
        with contextlib.suppress(OSError):
            plan_hash = hashlib.sha256((tree.tree / PLAN_FILE).read_bytes()).hexdigest()
    return Found(
        agent_id=place.agent_id,
        pod_name=place.pod_name,
        slot_id=place.slot_id,
        directory_exists=tree is not None,
        plan_hash=plan_hash,
        fingerprint=take_fingerprint(ctx) if tree is not None else None,
    )


def restore(ctx: PhaseContext) -> None:
    """Start cold: the snapshot in a fresh directory, init under the plan's lock file, the stored plan."""
    initializing.require_free_space(ctx)
    snapshot = ctx.load("snapshot")
    ctx.tree = ctx.worker.workshop.unpack_snapshot(
        f"{ctx.run.id}-{ctx.hold.fence}",
        f"{ctx.run.id}-{ctx.run.plan_fence}",
        snapshot,
        subdir=ctx.inputs.source.subdir,
    )
    plan_file = ctx.load("plan")
    found = hashlib.sha256(plan_file).hexdigest()
    if found != ctx.run.plan_hash:
        raise PhaseFailed(
            f"the stored plan is not the one that was confirmed: its hash is {found[:12]}, "
            f"confirmed was {(ctx.run.plan_hash or 'none')[:12]}",
            code="hash_mismatch",
        )
    (ctx.tree.tree / PLAN_FILE).write_bytes(plan_file)
    ctx.log.write(f"✓ Stored plan restored, hash verified ({found[:12]})")


def init_cold(ctx: PhaseContext) -> None:
    """Initialize the restored directory, and check that nothing that the plan relies on has changed."""
    initializing.initialize(ctx, readonly_lock=True)
    lines, error = tiers.compare_for_cold(tiers.recorded_of(ctx.run), _found(ctx))
    ctx.log.write("\n".join(lines))
    if error is not None:
        raise PhaseFailed(error, code="changed_since_plan")


def start(ctx: PhaseContext, tier: StartTier) -> Path | None:
    """Pass the point of no return and start terraform; returns the job's directory.

    None: terraform was not started, and the run was settled accordingly.
    """
    # Whoever comes next in this place and finds this directory without a launch.json knows that nothing was started.
    files.make_job_directory(ctx.job_directory("apply"))
    passed = ctx.persist(lambda: ctx.core.database.attempt(owning.pass_point_of_no_return, ctx.hold, tier))
    if passed is None:
        _refused(ctx)
        return None
    ctx.lease.stage = "apply"
    ctx.log.effects_fence = ctx.hold.fence
    try:
        return job.start(ctx, "apply", terraform_commands.apply(ctx.inputs.options))
    except job.NotStarted:
        give_back(ctx, Cause.NOT_STARTED)
        return None
    except Unavailable as error:
        # The keeper died or cannot write. Either its successor's word says "never", or terraform may be alive.
        logger.warning("%s", error.message, extra=log.ids(run=ctx.run.id))
        directory = ctx.job_directory("apply")
        if not ctx.worker.keeper.word(directory, run_id=ctx.run.id, fence=ctx.hold.fence):
            return directory
        give_back(ctx, Cause.NOT_STARTED)
        return None


def _refused(ctx: PhaseContext) -> None:
    """Do what was asked meanwhile: cancel, or stop for a freeze. Raises LeaseLost if the run is not ours any more."""
    if ctx.persist(lambda: ctx.core.database.attempt(owning.cancel_before_effects, ctx.hold)) is not None:
        return
    if not give_back(ctx, Cause.FROZEN, counted=False):
        raise LeaseLost


def give_back(ctx: PhaseContext, cause: Cause, *, counted: bool = True) -> bool:
    """Give the run back: terraform was not started for this claim. Tells whether it was still ours."""
    back = ctx.persist(lambda: ctx.core.database.attempt(owning.give_back, ctx.hold, cause, counted=counted))
    if back is not None:
        logger.info("given back: %s", back.status, extra=log.ids(run=back.id, cause=cause))
    return back is not None
