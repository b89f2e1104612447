"""The end of an apply: follow it, keep what it left, and report what is true, whoever started it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from iacq import log
from iacq.domain import masking, recovery, terraform_events
from iacq.domain.run import Run, Status
from iacq.errors import Conflict, InvalidInput, NotFound, PhaseFailed, Unavailable
from iacq.ports import EndUnknown
from iacq.services import state_unlocking, states
from iacq.services.phases import job, remains
from iacq.services.phases.context import PhaseContext
from iacq.services.phases.job import Outcome, Stopped
from iacq.services.phases.plan import STATE_FILE
from iacq.services.phases.statewriter import StateWriter
from iacq.store import artifacts
from iacq.store.artifacts import Artifact
from iacq.store.protocol import owning, recovering
from iacq.store.session import Raced, Transaction

logger = log.get(__name__)


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
        _interrupt(ctx, directory, effects_fence, "terraform and its keeper vanished while it applied")
        return
    ctx.timings["terraform"] = outcome.wall_ms
    if outcome.killed:
        _interrupt(ctx, directory, effects_fence, _killed_text(outcome))
        return
    _settle(ctx, outcome, directory, effects_fence)


def continue_apply(ctx: PhaseContext, directory: Path, effects_fence: int) -> None:
    """Follow the apply of a process that died, in the directory (`ctx.tree`) where it runs."""
    ctx.managed = ctx.run.planned_state is not None
    ctx.timings = dict(ctx.run.timings.get("apply", {}))
    try:
        ctx.learn_secrets()
    except (NotFound, PhaseFailed, Unavailable) as error:  # terraform goes on all the same, and its end is what counts
        ctx.log.write(f"✗ {error.message}: what terraform says cannot be shown")
        ctx.log.masking = masking.EVERYTHING
    follow(ctx, directory, effects_fence)


def _killed_text(outcome: Outcome) -> str:
    done = len(outcome.progress.completed)
    why = f"after its grace ({outcome.stopped})" if outcome.stopped else f"by signal {-outcome.returncode}"
    return f"terraform was killed {why} while it applied; it had reported {done} resources as done"


def _interrupt(ctx: PhaseContext, directory: Path, effects_fence: int, text: str) -> None:
    """terraform is gone in the middle of its work: what it left is kept, a person decides."""
    ctx.log.write(f"\n✗ {text}: the run is interrupted")
    _save_state(ctx, effects_fence)
    kept = _errored_state(ctx, directory)
    ctx.persist(ctx.log.flush)
    values = {"error_code": "interrupted", "error_text": text, "timings": ctx.all_timings()}

    def interrupt(tx: Transaction) -> Run:
        interrupted = owning.interrupt(tx, ctx.hold, **values)
        artifacts.record(tx, interrupted.id, kept)
        return interrupted

    if ctx.persist(lambda: ctx.core.database.attempt(interrupt)) is None:
        ctx.persist(lambda: ctx.core.database.attempt(remains.prove_end, ctx.run.id, effects_fence, kept))


def _errored_state(ctx: PhaseContext, directory: Path) -> list[Artifact]:
    """Keep the errored.tfstate that terraform left, if its backend did not take the state."""
    found = remains.errored_state(ctx.directory.tree, directory)
    if found is None:
        return []
    kept = [ctx.keep(states.ERRORED, found)]
    ctx.log.write(f"✗ {remains.errored_text(ctx.run, managed=ctx.managed)}")
    return kept


def _settle(ctx: PhaseContext, outcome: Outcome, directory: Path, effects_fence: int) -> None:
    began = ctx.core.clock.monotonic()
    ctx.lease.stage = "save"
    saved = _save_state(ctx, effects_fence)
    target = recovery.decide_apply_end(outcome.returncode, cancel_requested=outcome.stopped is Stopped.CANCELLED)
    values = _error_values(outcome, target)
    if saved is not None:
        target = Status.FAILED if target is Status.APPLIED else target
        values = {"error_code": "state_not_saved", "error_text": saved}
    errored = _errored_state(ctx, directory)
    if errored:
        said = f"{values['error_text']}\n{remains.errored_text(ctx.run, managed=ctx.managed)}"
        values = {"error_code": "state_not_saved", "error_text": said}
    elif values["error_code"] == "terraform":
        values = _diagnose_lock(ctx, values)
    stored = [*_outputs(ctx, outcome), *errored]
    ctx.persist(ctx.log.flush)
    ctx.timings["finish"] = int((ctx.core.clock.monotonic() - began) * 1000)
    report = _Report(ctx, target, stored, {**values, "timings": ctx.all_timings()}, effects_fence)
    ctx.ended = ctx.persist(report.send)


def _diagnose_lock(ctx: PhaseContext, values: dict[str, Any]) -> dict[str, Any]:
    """Say whose lock it is, if a lock of the configuration's own backend is what terraform failed at."""
    text = values["error_text"]
    found = ctx.persist(lambda: state_unlocking.diagnose(ctx.core, ctx.run.workspace, text, met_by=ctx.run.id))
    if found is None:
        return values
    ctx.log.write(f"\n✗ {found.text}")
    return {"error_code": "state_locked", "error_text": f"{found.text}\n\n{text}"}


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
        case Stopped.FROZEN:
            return {
                "error_code": "frozen",
                "error_text": f"its pool froze while it applied, and the grace for that was over; {done} done",
            }
        case _:
            ended = f"terraform apply ended with {outcome.returncode}"
            return {"error_code": "terraform", "error_text": text or ended}


def _save_state(ctx: PhaseContext, effects_fence: int) -> str | None:
    """Add the state that exists as a version, after a failed apply too; returns why it could not be."""
    if not ctx.managed:
        return None
    file, run = ctx.directory.tree / STATE_FILE, ctx.run
    fences = {"fence": ctx.hold.fence, "effects_fence": effects_fence}
    try:
        version = ctx.persist(lambda: states.save_file(ctx.core, run.workspace, file, run_id=run.id, **fences))
    except Raced:
        return "the run was taken away before its state could be saved; it is in the working state"
    except (Conflict, InvalidInput, PhaseFailed) as error:
        ctx.log.write(f"✗ State not saved: {error.message}; it is in {file}")
        return f"the state was not saved: {error.message}"
    if version is not None:
        ctx.log.write(f"State saved: version {version.version}, serial {version.serial}")
    return None


def _outputs(ctx: PhaseContext, outcome: Outcome) -> list[Artifact]:
    """Keep the outputs as terraform printed them, where no managed state has them."""
    if ctx.managed or outcome.returncode != 0:
        return []
    return [ctx.keep("outputs", json.dumps(outcome.progress.outputs).encode())]


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
