"""What the steps of a phase share."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from iacq import log
from iacq.domain.run import Phase, Run
from iacq.domain.slot import Place
from iacq.domain.workspace_secrets import WorkspaceSecrets
from iacq.errors import Unavailable
from iacq.keeper import files
from iacq.ports import Git, Keeper, RunTree, Workshop
from iacq.services import enqueuing, workspace_secrets
from iacq.services.core import Core, open_artifact, store_artifacts
from iacq.services.enqueuing import Inputs
from iacq.services.phases.lease import Lease
from iacq.services.phases.logwriter import LogWriter
from iacq.store import artifacts
from iacq.store.artifacts import Artifact
from iacq.store.protocol.owning import Hold
from iacq.store.session import DATABASE_UNAVAILABLE

T = TypeVar("T")
logger = log.get(__name__)

_FIRST_RETRY = 0.25
_LAST_RETRY = 5.0
_PATIENCE = 5.0
"""Seconds that a bell waits for the slot's other thread."""


def _attendants() -> Executor:
    return ThreadPoolExecutor(max_workers=3, thread_name_prefix="phase")


@dataclass(kw_only=True)
class SlotWorker:
    """One slot's process."""

    core: Core
    place: Place
    keeper: Keeper
    workshop: Workshop
    git: Git
    jobs: Path  # directory of the keeper's job directories
    lease: Lease | None = None  # of the phase that runs now
    kept_inputs: tuple[int, Inputs] | None = None  # run, and what it was enqueued with: its apply needs it again
    look_again: bool = False  # a phase left without having told how it ended: what it left is to be settled
    stop_at: float | None = None  # monotonic seconds when a running phase is interrupted; None: nobody asked to stop
    lock: threading.Lock = field(default_factory=threading.Lock)  # one of: a phase, settling what a predecessor left
    threads: Executor = field(default_factory=_attendants)  # for lease, log and state: starting one takes a millisecond

    def nudge(self) -> None:
        """Somebody rang: let the phase that runs hear of it."""
        lease = self.lease
        if lease is not None:
            lease.nudge()

    @contextlib.contextmanager
    def occupied(self) -> Iterator[bool]:
        """Keep the slot to one thing at a time; gives whether something may begin now.

        What a predecessor left is settled first. If that takes long, an apply was adopted and the slot is held: the
        bell is not for now, and it is rung again. So it is for a slot that is about to be replaced with its keeper.
        """
        if self.stop_at is not None or not self.lock.acquire(timeout=_PATIENCE):
            yield False
            return
        try:
            yield not self.keeper.gone
        finally:
            self.lock.release()


@dataclass(kw_only=True)
class PhaseContext:
    """One claim of a run."""

    worker: SlotWorker
    run: Run  # as it was claimed
    phase: Phase
    lease: Lease
    log: LogWriter
    claimed_at: float  # monotonic seconds
    claim_ms: int
    queue_wait_ms: int
    sealed_secrets: bytes | None = field(repr=False)  # the workspace's, as they were at this claim; None: it has none
    deadline: float  # monotonic seconds when the phase has lasted too long
    tree: RunTree | None = None  # set by the first step
    managed: bool = True  # iacq keeps the state; False: the configuration's own backend does
    state: dict[str, object] | None = None  # lineage and serial before this phase; None: not managed
    timings: dict[str, int] = field(default_factory=dict)  # ms
    ended: Run | None = None  # as this claim left it; None: not yet, or the database has to be asked

    @property
    def core(self) -> Core:
        """Settings, database and ports."""
        return self.worker.core

    @property
    def hold(self) -> Hold:
        """What every write names."""
        return self.lease.hold

    @functools.cached_property
    def inputs(self) -> Inputs:
        """What the run was enqueued with."""
        kept = self.worker.kept_inputs
        if kept is None or kept[0] != self.run.id:
            kept = self.worker.kept_inputs = (self.run.id, Inputs.from_json(self.load(enqueuing.INPUTS)))
        return kept[1]

    @functools.cached_property
    def secrets(self) -> WorkspaceSecrets:
        """What the workspace keeps secret now. Raises PhaseFailed(code=unreadable)."""
        return workspace_secrets.unseal(self.core, self.run.workspace, self.sealed_secrets)

    @functools.cached_property
    def workspace_environment(self) -> Mapping[str, str]:
        """What the workspace adds to the environment of programs: as it was enqueued; the secret part as it is now."""
        return {**self.inputs.environment, **self.secrets.environment}

    def learn_secrets(self) -> None:
        """Find out what the log must not show. Nothing that knows a secret is started before.

        Raises NotFound, PhaseFailed(code=unreadable), Unavailable (what is stored cannot be read now).
        """
        self.log.masking = self.inputs.masking(self.secrets)

    @property
    def terraform(self) -> Mapping[str, Any]:
        """Identity of the program that the workspace named when the run was enqueued. Raises Unavailable."""
        return self.worker.workshop.terraform(self.inputs.terraform_version)

    @property
    def directory(self) -> RunTree:
        """The run's directory."""
        if self.tree is None:
            raise RuntimeError("the first step of a phase makes the directory")
        return self.tree

    def job_directory(self, step: str) -> Path:
        """Directory of one command of this claim."""
        return files.job_directory(self.worker.jobs, run_id=self.run.id, fence=self.hold.fence, step=step)

    def all_timings(self) -> dict[str, dict[str, int]]:
        """Add this phase's times to those of the other one."""
        total = int((self.core.clock.monotonic() - self.claimed_at) * 1000)
        this = {"queue_wait": self.queue_wait_ms, "claim": self.claim_ms, **self.timings, "total": total}
        return {**{name: dict(times) for name, times in self.run.timings.items()}, self.phase.value: this}

    @functools.cached_property
    def _artifacts(self) -> Mapping[str, Artifact]:
        """What was stored before this claim, by kind."""
        return self.persist(lambda: self.core.database.read(artifacts.of_run, self.run.id))

    def load(self, kind: str) -> bytes:
        """Return a stored artifact of the run, verified. Raises NotFound, PhaseFailed."""
        found = self._artifacts.get(kind)
        return self.persist(lambda: open_artifact(self.core, self.run.workspace, self.run.id, kind, found))

    def store(self, kind: str, plain: bytes) -> Artifact:
        """Store an artifact of this claim durably; it counts once it is recorded with the end of the phase."""
        [stored] = self.store_all({kind: plain})
        return stored

    def keep(self, kind: str, plain: bytes) -> Artifact:
        """Store what an apply left, as `store` does; waits until there is room for it."""
        return self.persist(lambda: self.store(kind, plain), whatever_is_away=True)

    def store_all(self, plain: Mapping[str, bytes]) -> list[Artifact]:
        """Store what belongs together, by kind, as `store` does."""
        return self.persist(
            lambda: store_artifacts(self.core, self.run.workspace, self.run.id, plain, version=self.hold.fence)
        )

    def persist(self, report: Callable[[], T], *, whatever_is_away: bool = False) -> T:
        """Do what must reach the database, however long it is away. What there is to report is on the disk as well.

        whatever_is_away: wait for everything else too, as for room where artifacts are stored.
        """
        wait = _FIRST_RETRY
        while True:
            try:
                return report()
            except Unavailable as error:
                if error.code != DATABASE_UNAVAILABLE and not whatever_is_away:
                    raise
                logger.warning("will be reported later: %s", error.message, extra=log.ids(run=self.run.id))
                self.core.clock.sleep(wait)
                wait = min(wait * 2, _LAST_RETRY)
