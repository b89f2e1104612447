"""From the doorbell to the end of a phase."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from iacq import log
from iacq.domain import terraform_events, transitions, versions
from iacq.domain.run import Phase, Run, StartTier, Status
from iacq.domain.slot import Place
from iacq.domain.transitions import Cause
from iacq.errors import IacqError, PhaseFailed, Unavailable
from iacq.messages import DISPATCH
from iacq.ports import EndUnknown
from iacq.services.phases import apply, ending, plan, preparing
from iacq.services.phases.context import PhaseContext, SlotWorker
from iacq.services.phases.job import NoRoom, NotStarted, PodStopping
from iacq.services.phases.lease import Cancelled, Lease, LeaseLost, PoolFrozen
from iacq.services.phases.logwriter import LogWriter
from iacq.services.phases.plan import Planned
from iacq.store import artifacts, runs, workspaces
from iacq.store.protocol import owning
from iacq.store.protocol.owning import Hold, PlanResult
from iacq.store.session import Transaction

logger = log.get(__name__)

T = TypeVar("T")
_SAID_BY_TERRAFORM = frozenset({"terraform", "init"})
PlanEnd = tuple[Status, Mapping[str, Any]]
"""How a plan ends, and the columns that say so."""


def answer_doorbell(worker: SlotWorker, run_id: int, phase: Phase, attempt: int) -> Run | None:
    """Claim the run and work through its phase; returns the run at the end of it.

    None: the claim changed no row. The message was doubled, late, forged, or another slot was faster.
    """
    with worker.occupied() as free:
        return _claim_and_run(worker, run_id, phase, attempt) if free else None


def _claim_and_run(worker: SlotWorker, run_id: int, phase: Phase, attempt: int) -> Run | None:
    core = worker.core
    began, boottime = core.clock.monotonic(), core.clock.boottime()
    lease_s = core.settings.lease
    claimed = core.database.attempt(claim, run_id, phase, attempt, worker.place, lease_ms=int(lease_s * 1000))
    if claimed is None:
        logger.info("nothing to claim", extra=log.ids(run=run_id, phase=phase, attempt=attempt))
        return None
    run, sealed_secrets = claimed
    logger.info("claimed %s", phase, extra=log.ids(run=run_id, workspace=run.workspace, slot=worker.place.queue))
    hold = Hold(run_id=run.id, phase=phase, fence=run.fence, owner=worker.place.owner)
    stage = owning.FIRST_STAGE[phase]
    lease = Lease(core, worker.threads, hold, stage=stage, valid_until=boottime + lease_s)
    ended: Run | None = None
    try:
        with held(worker, run, lease, began, sealed_secrets) as ctx:
            try:
                (_run_plan if phase is Phase.PLAN else _run_apply)(ctx)
            except LeaseLost:
                logger.info("the run is not ours any more", extra=log.ids(run=run_id, phase=phase))
        ended = ctx.ended
    finally:
        # A command of it may go on, or have an end that nobody was told: as with what a dead process leaves.
        worker.look_again = worker.look_again or ended is None
    if ended is None:
        with contextlib.suppress(Unavailable):
            ended = core.database.read(runs.get, run.id)
    if ended is not None and ended.status in (transitions.ENDED | {Status.PENDING, Status.CONFIRMED}):
        core.ring_control(DISPATCH)
    return ended


def claim(
    tx: Transaction, run_id: int, phase: Phase, attempt: int, place: Place, *, lease_ms: int
) -> tuple[Run, bytes | None]:
    """Claim, and read what the workspace keeps secret at this moment."""
    run = owning.claim(tx, run_id, phase, attempt, place, lease_ms=lease_ms)
    return run, workspaces.secrets_of(tx, run.workspace)


@contextlib.contextmanager
def held(
    worker: SlotWorker,
    run: Run,
    lease: Lease,
    began: float,
    sealed_secrets: bytes | None,
    *,
    log_of: Phase | None = None,
    timeout: float | None = None,
) -> Iterator[PhaseContext]:
    """Hold a claim: its lease is renewed and its log stored until the phase is over.

    log_of: the phase to whose log it writes; None: its own. timeout: seconds; None: those of its phase. An error that
    nobody foresaw becomes PhaseFailed: its text may hold a secret.
    """
    core, phase = worker.core, lease.hold.phase
    now = core.clock.monotonic()
    if timeout is None:
        timeout = core.settings.plan_timeout if phase is Phase.PLAN else core.settings.apply_timeout
    writer = LogWriter(
        core,
        worker.threads,
        run.id,
        log_of or phase,
        fence=lease.hold.fence,
        effects_fence=run.effects_fence,
        # Every claim and every loss of one counts the fence up. A run that was warmed up has something in its log.
        first=phase is Phase.PLAN and lease.hold.fence == 1,
    )
    ctx = PhaseContext(
        worker=worker,
        run=run,
        phase=phase,
        lease=lease,
        log=writer,
        claimed_at=began,
        claim_ms=int((now - began) * 1000),
        queue_wait_ms=max(0, core.clock.now_ms() - (run.queued_at or run.created_at) - int((now - began) * 1000)),
        deadline=began + timeout,
        sealed_secrets=sealed_secrets,
    )
    with lease:
        worker.lease = lease
        try:
            yield ctx
        except (IacqError, OSError, LeaseLost, EndUnknown):
            raise
        except Exception as error:  # Celery would print it, and send it to whoever listens
            if not writer.masking:
                raise
            said = writer.masking.text(traceback.format_exc())
            logger.error("unforeseen: %s", said, extra=log.ids(run=run.id))  # noqa: TRY400 - masked already
            raise PhaseFailed(f"run {run.id}: unforeseen {type(error).__name__}", code="system") from None
        finally:
            worker.lease = None
            with contextlib.closing(writer), contextlib.suppress(IacqError):
                writer.flush()


def _or_give_back(ctx: PhaseContext, work: Callable[[PhaseContext], T], *, vanished: Cause) -> T | None:
    """Work, or give the run back where it cannot go on here, which is no try of its own. None: it went back.

    vanished: why, if nobody can say how a command ended; that counts as a try.
    """
    try:
        return work(ctx)
    except (EndUnknown, NotStarted):
        apply.give_back(ctx, vanished)
    except PodStopping:
        apply.give_back(ctx, Cause.STOPPED, counted=False)
    except PoolFrozen:
        apply.give_back_frozen(ctx)
    except NoRoom:
        ctx.persist(ctx.log.flush)
        apply.give_back(ctx, Cause.NO_ROOM, counted=False)
    return None


def _run_plan(ctx: PhaseContext) -> None:
    planned = Planned()
    result = _or_give_back(ctx, lambda ctx: _plan(ctx, planned), vanished=Cause.END_UNKNOWN)
    if result is None:
        return
    ctx.persist(ctx.log.flush)
    finished = ctx.persist(lambda: ctx.core.database.attempt(_finish_plan, ctx, planned, result))
    if finished is None:
        raise LeaseLost
    ctx.ended, bell = finished
    if bell is not None:
        ctx.core.ring(bell)
    elif ctx.ended.status is Status.CONFIRMED:
        ctx.core.ring_control(DISPATCH)


def _plan(ctx: PhaseContext, planned: Planned) -> PlanEnd:
    try:
        ctx.learn_secrets()
        for stage, timing, step in plan.STEPS:
            if ctx.worker.stop_at is not None and ctx.core.clock.monotonic() >= ctx.worker.stop_at:
                raise PodStopping
            ctx.lease.enter(stage)
            with _timed(ctx, timing):
                step(ctx, planned)
        ctx.lease.check()
        return _plan_result(ctx, plan.end_of(ctx, planned), planned)
    except Cancelled:
        return _plan_result(ctx, Status.CANCELLED, planned)
    except (IacqError, OSError) as error:
        return _plan_result(ctx, Status.FAILED, planned, error)


@contextlib.contextmanager
def _timed(ctx: PhaseContext, timing: str) -> Iterator[None]:
    began = ctx.core.clock.monotonic()
    try:
        yield
    finally:
        if timing:
            took = int((ctx.core.clock.monotonic() - began) * 1000)
            ctx.timings[timing] = ctx.timings.get(timing, 0) + took


def _plan_result(ctx: PhaseContext, status: Status, planned: Planned, error: Exception | None = None) -> PlanEnd:
    values: dict[str, Any] = {
        "timings": ctx.all_timings(),
        "changes": planned.changes,
        "plan_hash": planned.plan_hash,
        "fingerprint": planned.fingerprint,
    }
    if error is not None:
        values |= {**_error_values(ctx, error), "plan_hash": None, "fingerprint": None}
        _log_error(ctx, values)
    if planned.changes is not None:
        values["terraform_version"] = str(ctx.terraform["version"])
    return status, values


def _log_error(ctx: PhaseContext, values: Mapping[str, Any]) -> None:
    """Say in the log what failed, unless terraform has said it there."""
    if values["error_code"] not in _SAID_BY_TERRAFORM:
        ctx.log.write(f"\n✗ {values['error_text']}")


def _error_values(ctx: PhaseContext, error: Exception) -> dict[str, Any]:
    """Describe what failed, for the run."""
    if isinstance(error, IacqError):
        code, text = error.code, error.message + (f" ({error.hint})" if error.hint else "")
    else:
        code, text = "system", f"{type(error).__name__}: {error}"
    return {"error_code": code, "error_text": ctx.log.masking.text(terraform_events.strip_colours(text))}


def _finish_plan(tx: Transaction, ctx: PhaseContext, planned: Planned, end: PlanEnd) -> Any:
    workspace = workspaces.find(tx, ctx.run.workspace)
    expires = workspace.plan_expires if workspace else None
    default = int(ctx.core.settings.plan_expires * 1000)
    status, values = end
    # Only a version that reads what the run was enqueued with comes here; whoever goes on reads what this one stored.
    values = {**values, "needs_protocol": max(ctx.run.needs_protocol, versions.RUN_NEEDS)}
    result = PlanResult(status=status, values=values, expires_in_ms=default if expires is None else expires)
    finished = owning.finish_plan(tx, ctx.hold, ctx.worker.place, result)
    artifacts.record(tx, ctx.run.id, planned.artifacts or [])
    return finished


def _run_apply(ctx: PhaseContext) -> None:
    # Where a command vanishes it was an init: nothing was applied.
    directory = _or_give_back(ctx, _begin_apply, vanished=Cause.NOT_STARTED)
    if directory is not None:
        ending.follow(ctx, directory, ctx.hold.fence)


def _begin_apply(ctx: PhaseContext) -> Path | None:
    """Start terraform; returns the job's directory. None: it was not started, and the run was settled accordingly."""
    try:
        return _prepare_and_start(ctx)
    except Cancelled:
        ctx.persist(lambda: ctx.core.database.attempt(owning.cancel_before_effects, ctx.hold))
    except (IacqError, OSError) as error:
        values = _error_values(ctx, error)
        _log_error(ctx, values)
        ctx.persist(ctx.log.flush)
        values["timings"] = ctx.all_timings()
        ctx.persist(lambda: ctx.core.database.attempt(owning.finish_apply, ctx.hold, Status.FAILED, **values))
    return None


def _prepare_and_start(ctx: PhaseContext) -> Path | None:
    ctx.lease.check()
    ctx.learn_secrets()
    with _timed(ctx, "prepare"):
        tier = preparing.find(ctx)
        if tier is None:
            ctx.lease.enter("fetch")
            tier = preparing.restore(ctx)
    if tier is StartTier.COLD:
        ctx.lease.enter("init")
        with _timed(ctx, "init"):
            preparing.init_cold(ctx)
    ctx.lease.check()
    # Nothing was applied yet: in a pod that is told to stop it does not begin, and another pod applies it.
    if ctx.worker.stop_at is not None:
        raise PodStopping
    return apply.start(ctx, tier)
