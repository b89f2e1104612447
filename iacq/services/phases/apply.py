"""The start of an apply: the point of no return. `preparing` has what comes before, `ending` the rest."""

from __future__ import annotations

from pathlib import Path

from iacq import log
from iacq.domain import terraform_commands
from iacq.domain.run import StartTier
from iacq.domain.transitions import Cause
from iacq.errors import Unavailable
from iacq.keeper import files
from iacq.services.phases import job
from iacq.services.phases.context import PhaseContext
from iacq.services.phases.lease import LeaseLost
from iacq.store.protocol import owning

logger = log.get(__name__)


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
    if not give_back_frozen(ctx):
        raise LeaseLost


def give_back_frozen(ctx: PhaseContext) -> bool:
    """Give the run back because its pool froze; the freeze may have been lifted since. Tells whether it was ours."""
    return give_back(ctx, Cause.FROZEN, counted=False) or give_back(ctx, Cause.STOPPED, counted=False)


def give_back(ctx: PhaseContext, cause: Cause, *, counted: bool = True) -> bool:
    """Give the run back: terraform was not started for this claim. Tells whether it was still ours."""
    back = ctx.persist(lambda: ctx.core.database.attempt(owning.give_back, ctx.hold, cause, counted=counted))
    if back is not None:
        logger.info("given back: %s", back.status, extra=log.ids(run=back.id, cause=cause))
    return back is not None
