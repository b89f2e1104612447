"""One command of a phase, of terraform or git: start it through the keeper, follow its output, stop it if need be."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from iacq import log
from iacq.domain.run import Phase
from iacq.domain.terraform_events import Progress
from iacq.errors import Conflict, PhaseFailed, Unavailable
from iacq.ports import KEEPER_BUSY, KEEPER_GONE, Ended, EndUnknown, Job
from iacq.services.phases.context import PhaseContext
from iacq.services.phases.lease import Cancelled, LeaseLost, PoolFrozen
from iacq.services.phases.output import Output

logger = log.get(__name__)

_LOOK = 0.1
"""Seconds between two looks at the output; the end of the command is noticed at once."""


class Stopped(enum.StrEnum):
    """Why a command was interrupted."""

    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    STOPPING = "stopping"  # the pod was told to stop
    FROZEN = "frozen"  # the pool froze
    LOST = "lost"  # the run is not ours any more (a plan only: an apply goes on)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended."""

    returncode: int  # negative: killed by that signal
    wall_ms: int  # from its start to its end
    progress: Progress
    stopped: Stopped | None  # None: it ended by itself

    @property
    def killed(self) -> bool:
        """Tell whether a signal ended it: it could not finish what it was doing."""
        return self.returncode < 0


class PodStopping(Exception):  # noqa: N818 - it says what happened
    """The pod is told to stop: the run goes elsewhere, and this was not a try."""


class NoRoom(Exception):  # noqa: N818 - it says what happened
    """The disk of this pod is too full: the run goes elsewhere, and this was not a try."""


class NotStarted(Exception):  # noqa: N818 - it says what happened
    """The keeper gave its word that this command was not started and never will be."""


def run(
    ctx: PhaseContext,
    step: str,
    arguments: tuple[str, ...],
    *,
    environment: Mapping[str, str] | None = None,
    show: bool = True,
    hidden: frozenset[str] = frozenset(),
) -> Outcome:
    """Start terraform and follow it to its end.

    show: write its output to the run's log, but not events of the `hidden` kinds. Raises NotStarted, ports.EndUnknown.
    """
    directory = start(ctx, step, arguments, environment=environment)
    return follow(ctx, directory, show=show, hidden=hidden)


def start(
    ctx: PhaseContext, step: str, arguments: tuple[str, ...], *, environment: Mapping[str, str] | None = None
) -> Path:
    """Start terraform; returns the job's directory. Raises NotStarted."""
    return start_program(
        ctx,
        step,
        (str(ctx.terraform["path"]), *arguments),
        directory=ctx.directory.path,
        environment={**terraform_environment(ctx), **(environment or {})},
    )


def terraform_environment(ctx: PhaseContext) -> dict[str, str]:
    """Return the complete environment of a command of terraform in this phase."""
    return ctx.worker.workshop.environment(ctx.directory, ctx.workspace_environment, own_backend=not ctx.managed)


def start_program(
    ctx: PhaseContext, step: str, argv: tuple[str, ...], *, directory: Path, environment: Mapping[str, str]
) -> Path:
    """Start a program in a directory; returns the job's directory. Raises NotStarted."""
    wanted = Job(
        directory=ctx.job_directory(step),
        run_id=ctx.run.id,
        fence=ctx.hold.fence,
        phase=ctx.phase,
        argv=argv,
        cwd=directory,
        environment=environment,
        not_after=ctx.lease.valid_until,
    )
    try:
        started = ctx.worker.keeper.start(wanted)
    except (Unavailable, Conflict) as error:
        busy = error.code == KEEPER_BUSY and ctx.worker.keeper.word(
            wanted.directory, run_id=ctx.run.id, fence=ctx.hold.fence
        )
        if not busy and error.code != KEEPER_GONE:
            raise
        raise NotStarted from error  # its word is on disk; another slot's keeper may do it
    if not started:
        raise NotStarted
    return wanted.directory


def follow(
    ctx: PhaseContext,
    directory: Path,
    *,
    show: bool = True,
    hidden: frozenset[str] = frozenset(),
    name: str = "terraform",
    deadline: float | None = None,
) -> Outcome:
    """Follow a started command: its output into the log, a cancel or time-out to its keeper.

    name: what people call the program; deadline: monotonic seconds, if it ends before the phase's. Raises
    ports.EndUnknown, after what it had printed was logged.
    """
    stopper = _Stopper(ctx, directory, name, ctx.deadline if deadline is None else min(deadline, ctx.deadline))
    with Output(ctx.log, directory, show=show, hidden=hidden) as output:
        ended: Ended | None = None
        while ended is None:
            try:
                ended = ctx.worker.keeper.wait(directory, _LOOK)
            except EndUnknown:
                output.take(ended=True)
                raise
            output.take(ended=ended is not None)
            if ended is None:
                stopper.look()
    reason = stopper.reason
    if reason is None and ended.signals:
        # Not from us: a predecessor in this slot carried out a cancel, or the agent ended the pod's grace.
        reason = _asked(ctx) or Stopped.STOPPING
    return Outcome(returncode=ended.returncode, wall_ms=ended.wall_ms, progress=output.progress, stopped=reason)


def _asked(ctx: PhaseContext) -> Stopped | None:
    """Return why somebody asked the owner of this run to stop."""
    if ctx.lease.cancel_requested:
        return Stopped.CANCELLED
    return Stopped.FROZEN if ctx.lease.freeze_requested else None


class _Stopper:
    """Interrupts a command once, and kills what is left after the grace."""

    def __init__(self, ctx: PhaseContext, directory: Path, name: str, deadline: float) -> None:
        self.reason: Stopped | None = None
        self._ctx = ctx
        self._directory = directory
        self._name = name
        self._deadline = deadline
        self._kill_at: float | None = None

    def look(self) -> None:
        """Do what is due now."""
        now = self._ctx.core.clock.monotonic()
        if self.reason is None:
            self.reason = self._find_reason(now)
            if self.reason is not None:
                self._stop(now)
        elif self._kill_at is not None and now >= self._kill_at:
            logger.warning("killed after its grace", extra=log.ids(run=self._ctx.run.id))
            self._ctx.worker.keeper.kill(self._directory)
            self._kill_at = None

    def _find_reason(self, now: float) -> Stopped | None:
        ctx = self._ctx
        if ctx.lease.lost and ctx.phase is Phase.PLAN:
            return Stopped.LOST
        asked = _asked(ctx)
        if asked is not None:
            return asked
        if now >= self._deadline:
            return Stopped.TIMEOUT
        if ctx.worker.stop_at is not None and now >= ctx.worker.stop_at:
            return Stopped.STOPPING
        return None

    def _stop(self, now: float) -> None:
        settings = self._ctx.core.settings
        grace = settings.cancel_grace_plan if self._ctx.phase is Phase.PLAN else settings.cancel_grace_apply
        if self.reason is Stopped.LOST:
            self._ctx.worker.keeper.kill(self._directory)
            return
        logger.info("interrupting %s: %s", self._name, self.reason, extra=log.ids(run=self._ctx.run.id))
        self._ctx.log.write(f"\nInterrupting {self._name} ({self.reason})...")
        self._ctx.worker.keeper.interrupt(self._directory)
        self._kill_at = now + grace


def require_success(outcome: Outcome, command: str) -> None:
    """Raise PhaseFailed with terraform's diagnostic unless `terraform COMMAND` succeeded, or as `raise_if_stopped`."""
    raise_if_stopped(outcome)
    if outcome.returncode != 0:
        raise PhaseFailed(
            outcome.progress.error() or f"terraform {command} ended with {outcome.returncode}", code="terraform"
        )


def raise_if_stopped(outcome: Outcome) -> None:
    """Raise what follows from an interrupted command of a plan (or of the init of an apply)."""
    match outcome.stopped:
        case Stopped.CANCELLED:
            raise Cancelled
        case Stopped.LOST:
            raise LeaseLost
        case Stopped.TIMEOUT:
            raise PhaseFailed("the phase took too long and was interrupted", code="timeout")
        case Stopped.STOPPING:
            raise PodStopping
        case Stopped.FROZEN:
            raise PoolFrozen
        case None if outcome.killed:
            raise EndUnknown  # by something else than us: the phase is tried again
        case None:
            return
