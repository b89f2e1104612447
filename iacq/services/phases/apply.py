"""The steps of an apply: verify, prepare, the point of no return, terraform, and its true end."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from iacq import log
from iacq.domain import recovery, terraform_commands, terraform_events, tiers
from iacq.domain.run import Run, StartTier, Status
from iacq.domain.terraform_commands import PLAN_FILE
from iacq.domain.tiers import Found
from iacq.domain.transitions import Cause
from iacq.errors import Conflict, InvalidInput, PhaseFailed, Unavailable
from iacq.keeper import files
from iacq.ports import EndUnknown
from iacq.services import states
from iacq.services.phases import initializing, job
from iacq.services.phases.context import PhaseContext
from iacq.services.phases.job import Outcome, Stopped
from iacq.services.phases.lease import LeaseLost
from iacq.services.phases.plan import STATE_FILE, take_fingerprint
from iacq.services.phases.statewriter import StateWriter
from iacq.store import artifacts
from iacq.store import states as state_rows
from iacq.store.artifacts import Artifact
from iacq.store.protocol import owning, recovering
from iacq.store.session import Raced, Transaction

logger = log.get(__name__)


def verify(ctx: PhaseContext) -> StartTier:
    """Compare this place with what the plan recorded, check by check, and say how the apply starts."""
    name = f"{ctx.run.id}-{ctx.run.plan_fence}"
    ctx.managed = bool(ctx.run.fingerprint and ctx.run.fingerprint.get("state") is not None)
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
    cancelled = ctx.persist(lambda: ctx.core.database.attempt(owning.cancel_before_effects, ctx.hold))
    if cancelled is None:
        raise LeaseLost


def give_back(ctx: PhaseContext, cause: Cause, *, counted: bool = True) -> None:
    """Give the run back: terraform was not started for this claim."""
    back = ctx.persist(lambda: ctx.core.database.attempt(owning.give_back, ctx.hold, cause, counted=counted))
    if back is not None:
        logger.info("given back: %s", back.status, extra=log.ids(run=back.id, cause=cause))


def follow(ctx: PhaseContext, directory: Path, effects_fence: int) -> None:
    """Follow a started apply to its end and report it, whoever started it."""
    state_path = ctx.directory.tree / STATE_FILE
    writing: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if ctx.managed:
        writing = StateWriter(
            ctx.core,
            ctx.worker.threads,
            ctx.run.workspace,
            ctx.run.id,
            fence=ctx.hold.fence,
            effects_fence=effects_fence,
            file=state_path,
        )
    try:
        with writing:
            outcome = job.follow(ctx, directory)
    except EndUnknown:
        _interrupt(ctx, effects_fence, "terraform and its keeper vanished while it applied")
        return
    ctx.timings["terraform"] = outcome.wall_ms
    if outcome.killed:
        _interrupt(ctx, effects_fence, _killed_text(outcome))
        return
    _settle(ctx, outcome, effects_fence)


def continue_apply(ctx: PhaseContext, directory: Path, effects_fence: int) -> None:
    """Follow the apply of a process that died, in the directory where it runs."""
    name = f"{ctx.run.id}-{ctx.run.plan_fence}"
    workshop = ctx.worker.workshop
    ctx.managed = bool(ctx.run.fingerprint and ctx.run.fingerprint.get("state") is not None)
    # A hot apply runs in the directory of its plan, another one in that of its claim; both have the plan's link.
    ctx.tree = workshop.kept(f"{ctx.run.id}-{effects_fence}", name) or workshop.kept(name, name)
    if ctx.tree is None:
        raise PhaseFailed("the directory of the running apply is gone", code="directory_gone")
    ctx.timings = dict(ctx.run.timings.get("apply", {}))
    follow(ctx, directory, effects_fence)


def _killed_text(outcome: Outcome) -> str:
    done = len(outcome.progress.completed)
    why = f"after its grace ({outcome.stopped})" if outcome.stopped else f"by signal {-outcome.returncode}"
    return f"terraform was killed {why} while it applied; it had reported {done} resources as done"


def _interrupt(ctx: PhaseContext, effects_fence: int, text: str) -> None:
    """terraform is gone in the middle of its work: the state that exists is saved, a person decides."""
    ctx.log.write(f"\n✗ {text}: the run is interrupted")
    _save_state(ctx, effects_fence)
    ctx.persist(ctx.log.flush)
    values = {"error_code": "interrupted", "error_text": text, "timings": ctx.all_timings()}
    if ctx.persist(lambda: ctx.core.database.attempt(owning.interrupt, ctx.hold, **values)) is None:
        ctx.persist(lambda: ctx.core.database.attempt(recovering.prove_end, ctx.run.id, effects_fence))


def _settle(ctx: PhaseContext, outcome: Outcome, effects_fence: int) -> None:
    began = ctx.core.clock.monotonic()
    ctx.lease.stage = "save"
    saved = _save_state(ctx, effects_fence)
    target = recovery.decide_apply_end(outcome.returncode, cancel_requested=outcome.stopped is Stopped.CANCELLED)
    values = _error_values(outcome, target)
    if saved is not None:
        target = Status.FAILED if target is Status.APPLIED else target
        values = {"error_code": "state_not_saved", "error_text": saved}
    stored = _outputs(ctx, outcome)
    ctx.persist(ctx.log.flush)
    ctx.timings["finish"] = int((ctx.core.clock.monotonic() - began) * 1000)
    report = _Report(ctx, target, stored, {**values, "timings": ctx.all_timings()}, effects_fence)
    ctx.persist(report.send)


def _error_values(outcome: Outcome, target: Status) -> dict[str, Any]:
    if target is Status.APPLIED:
        return {"error_code": None, "error_text": None}
    text = terraform_events.strip_colours(outcome.progress.error())
    done = len(outcome.progress.completed)
    match outcome.stopped:
        case Stopped.TIMEOUT:
            return {
                "error_code": "timeout",
                "error_text": f"the apply took too long and was interrupted; {done} done",
            }
        case Stopped.CANCELLED:
            return {"error_code": "cancelled", "error_text": f"cancelled while it applied; {done} done"}
        case Stopped.STOPPING:
            return {
                "error_code": "stopped",
                "error_text": f"its pod was stopped while it applied; {done} done",
            }
        case _:
            ended = f"terraform apply ended with {outcome.returncode}"
            return {"error_code": "terraform", "error_text": text or ended}


def _save_state(ctx: PhaseContext, effects_fence: int) -> str | None:
    """Add the state that exists as a version, after a failed apply too; returns why it could not be."""
    file = ctx.directory.tree / STATE_FILE
    if not ctx.managed or not file.exists():
        return None
    try:
        new = states.prepare(ctx.core, ctx.run.workspace, file.read_bytes())
        if new is None:
            return None
        version = ctx.persist(
            lambda: ctx.core.database.run(
                states.save,
                ctx.run.workspace,
                new,
                run_id=ctx.run.id,
                fence=ctx.hold.fence,
                effects_fence=effects_fence,
            )
        )
    except Raced:
        return "the run was taken away before its state could be saved; it is in the working state"
    except (Conflict, InvalidInput, PhaseFailed) as error:
        ctx.log.write(f"✗ State not saved: {error.message}; it is in {file}")
        return f"the state was not saved: {error.message}"
    ctx.log.write(f"State saved: version {version.version}, serial {version.serial}")
    return None


def _outputs(ctx: PhaseContext, outcome: Outcome) -> list[Artifact]:
    """Keep the outputs as terraform printed them, where no managed state has them."""
    if ctx.managed or outcome.returncode != 0:
        return []
    return [ctx.store("outputs", json.dumps(outcome.progress.outputs).encode())]


class _Report:
    """The true end of an apply: from its owner, or late from a process that lost the run meanwhile."""

    def __init__(
        self,
        ctx: PhaseContext,
        target: Status,
        stored: list[Artifact],
        values: dict[str, Any],
        effects_fence: int,
    ) -> None:
        self._ctx = ctx
        self._target = target
        self._stored = stored
        self._values = values
        self._effects_fence = effects_fence

    def send(self) -> Run | None:
        """Report. None: the run is not ours in either way, and whoever has it reports."""
        database = self._ctx.core.database
        sent = database.attempt(self._as_owner) or database.attempt(self._late)
        if sent is None:
            logger.warning("nobody waits for the end of this apply", extra=log.ids(run=self._ctx.run.id))
        else:
            logger.info("%s", sent.status, extra=log.ids(run=sent.id, workspace=sent.workspace))
        return sent

    def _as_owner(self, tx: Transaction) -> Run:
        finished = owning.finish_apply(tx, self._ctx.hold, self._target, **self._values)
        artifacts.record(tx, finished.id, self._stored)
        return finished

    def _late(self, tx: Transaction) -> Run:
        target = Status.APPLIED if self._target is Status.APPLIED else Status.FAILED
        reported = recovering.late_report(tx, self._ctx.run.id, self._effects_fence, target, **self._values)
        artifacts.record(tx, reported.id, self._stored)
        return reported
