"""Prepare the directory of a run in this slot, ahead of its apply: the slot of its plan was lost.

What an apply would do that finds nothing prepared: the snapshot in a fresh directory, the providers of this machine
linked into it, everything compared. If this machine lacks a provider, an init fetches it now, so that the apply needs
none. The canonical path does not lead here before the apply takes the directory: it belongs to whoever holds the run.
"""

from __future__ import annotations

import dataclasses

from iacq import log
from iacq.domain.run import Phase, Run, directory_name
from iacq.domain.slot import Place
from iacq.errors import IacqError, PhaseFailed
from iacq.messages import BEGIN_WARMUPS
from iacq.ports import EndUnknown
from iacq.services.core import Core
from iacq.services.phases import initializing, preparing, runner
from iacq.services.phases.context import PhaseContext, SlotWorker
from iacq.services.phases.job import NotStarted, PodStopping
from iacq.services.phases.lease import Cancelled, LeaseLost, WarmupLease
from iacq.store import workspaces
from iacq.store.protocol import warming
from iacq.store.protocol.owning import Hold
from iacq.store.session import Transaction

logger = log.get(__name__)


def answer_doorbell(worker: SlotWorker, run_id: int, retry: int) -> bool | None:
    """Claim a warm-up and do it; tells whether the run is prepared. None: there was nothing to claim."""
    with worker.occupied() as free:
        return _claim_and_prepare(worker, run_id, retry) if free else None


def _claim_and_prepare(worker: SlotWorker, run_id: int, retry: int) -> bool | None:
    core, place = worker.core, worker.place
    began, boottime = core.clock.monotonic(), core.clock.boottime()
    # Whoever judges from outside waits a little longer than we do ourselves.
    within_s = core.settings.warmup_timeout + core.settings.claim_timeout
    claimed = core.database.attempt(_claim, run_id, retry, place, within_ms=int(within_s * 1000))
    if claimed is None:
        logger.info("no warm-up to claim", extra=log.ids(run=run_id, retry=retry))
        return None
    run, sealed_secrets = claimed
    # Its commands may be killed at any time, as those of a plan.
    hold = Hold(run_id=run.id, phase=Phase.PLAN, fence=run.fence, owner=place.owner)
    lease = WarmupLease(core, worker.threads, hold, stage="warmup", valid_until=boottime + within_s)
    timeout = core.settings.warmup_timeout
    ready = False
    try:
        with runner.held(worker, run, lease, began, sealed_secrets, log_of=Phase.APPLY, timeout=timeout) as ctx:
            ready = _prepare_and_report(ctx)
    except PhaseFailed:  # nobody foresaw it
        _fail(core, hold, place)
        raise
    finally:
        if not ready:
            worker.workshop.remove(directory_name(run.id, run.fence))
    took = int((core.clock.monotonic() - began) * 1000)
    logger.info("%s in %d ms", "warmed up" if ready else "not warmed up", took, extra=log.ids(run=run.id))
    return ready


def _claim(tx: Transaction, run_id: int, retry: int, place: Place, *, within_ms: int) -> tuple[Run, bytes | None]:
    run = warming.claim(tx, run_id, retry, place, within_ms=within_ms)
    return run, workspaces.secrets_of(tx, run.workspace)


def _prepare_and_report(ctx: PhaseContext) -> bool:
    ctx.log.write(f"Warming up in slot {ctx.worker.place.queue}")
    try:
        _prepare(ctx)
        ctx.lease.check()
    except (LeaseLost, Cancelled):
        return False
    except (PodStopping, NotStarted, EndUnknown):
        return _report_failure(ctx, "it was interrupted")
    except (IacqError, OSError) as error:
        return _report_failure(ctx, error.message if isinstance(error, IacqError) else str(error))
    ctx.log.write("✓ Warmed up: the apply starts here, without init")
    ctx.persist(ctx.log.flush)
    ttl_ms = int(ctx.core.settings.warmup_ttl * 1000)
    finish, place = warming.finish, ctx.worker.place
    return ctx.persist(lambda: ctx.core.database.attempt(finish, ctx.hold, place, ttl_ms=ttl_ms)) is not None


def _prepare(ctx: PhaseContext) -> None:
    """Raise PhaseFailed with the check that rules out an apply without init."""
    preparing.know_state(ctx)
    ctx.learn_secrets()
    preparing.unpack(ctx, lead=False)
    decision = preparing.verify(ctx)
    if decision.failed == "mirror":
        _fetch_providers(ctx)
        decision = preparing.verify(ctx)
    if decision.tier is None:
        raise PhaseFailed(decision.lines[-2].removeprefix("✗ "), code="changed_since_plan")


def _fetch_providers(ctx: PhaseContext) -> None:
    tree = ctx.directory
    ctx.tree = dataclasses.replace(tree, path=tree.tree)
    initializing.initialize(ctx, readonly_lock=True)
    ctx.tree = tree


def _report_failure(ctx: PhaseContext, text: str) -> bool:
    ctx.log.write(f"✗ Not warmed up: {text}; the apply tries again itself")
    ctx.persist(ctx.log.flush)
    ctx.persist(lambda: _fail(ctx.core, ctx.hold, ctx.worker.place))
    return False


def _fail(core: Core, hold: Hold, place: Place) -> bool:
    """Say that it failed, and ask for the next try at once; tells whether it was still wanted."""
    if core.database.attempt(warming.fail, hold, place) is None:
        return False
    core.ring_control(BEGIN_WARMUPS)
    return True


def settle(worker: SlotWorker, run: Run) -> None:
    """Say that the warm-up which a dead process of this slot had begun has failed, and remove what it made."""
    place = worker.place
    if run.warmup_fence is None or run.prepared_agent_id != place.agent_id:
        return
    hold = Hold(run_id=run.id, phase=Phase.PLAN, fence=run.warmup_fence, owner=place.owner)
    if _fail(worker.core, hold, place):
        logger.warning("its slot process died while it was warmed up", extra=log.ids(run=run.id))
        worker.workshop.remove(directory_name(run.id, run.warmup_fence))
