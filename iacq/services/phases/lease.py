"""Keeps the claim of a run alive while a phase works."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import Self

from iacq import log
from iacq.domain.run import Run
from iacq.errors import Unavailable
from iacq.services.core import Core
from iacq.store.protocol import owning, warming
from iacq.store.protocol.owning import Hold
from iacq.store.session import Raced

logger = log.get(__name__)

_GATHER = 0.25
"""Seconds between the beginning of a step and the renewal that says so: quick steps need none."""
_SOONER = 5
"""A renewal that the database did not answer is repeated this much sooner."""


class LeaseLost(Exception):  # noqa: N818 - it says what happened
    """The run is not ours any more: write nothing."""


class Cancelled(Exception):  # noqa: N818 - it says what happened
    """Somebody asked to cancel, and nothing is running that must be stopped first."""


class PoolFrozen(Exception):  # noqa: N818 - it says what happened
    """The pool froze: the run goes back, and this was not a try."""


class Lease:
    """Renews in a thread of its own, and says in the run which step it is at. A context manager.

    `lost`: the run is somebody else's. `cancel_requested`, `freeze_requested`: the answer to a renewal said so. While
    the database is away the lease is none of these: terraform goes on.
    """

    def __init__(
        self,
        core: Core,
        threads: Executor,
        hold: Hold,
        *,
        stage: str,
        valid_until: float,
        cancel_requested: bool = False,
        freeze_requested: bool = False,
    ) -> None:
        """Begin with a fresh claim. valid_until: CLOCK_BOOTTIME in seconds until which it surely holds."""
        self.hold = hold
        self.stage = stage  # as the run says it, or will at the next renewal
        self.lost = False
        self.cancel_requested = cancel_requested
        self.freeze_requested = freeze_requested
        self.valid_until = valid_until
        self._core = core
        self._threads = threads
        self._wake = threading.Event()
        self._at_once = threading.Event()
        self._over = threading.Event()
        self._renewing: Future[None] | None = None

    def __enter__(self) -> Self:
        self._renewing = self._threads.submit(self._renew_for_ever)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.nudge()
        if self._renewing is not None:
            self._renewing.result()

    def nudge(self) -> None:
        """Renew now: somebody says that there is something to hear."""
        self._at_once.set()
        self._wake.set()

    def enter(self, stage: str) -> None:
        """Say which step runs now. Raises what `check` raises."""
        self.check()
        if self.stage != stage:
            self.stage = stage
            self._wake.set()

    def check(self) -> None:
        """Raise LeaseLost, Cancelled or PoolFrozen if that is so."""
        if self.lost:
            raise LeaseLost
        if self.cancel_requested:
            raise Cancelled
        if self.freeze_requested:
            raise PoolFrozen

    def _renew_for_ever(self) -> None:
        every = self._core.settings.renew
        answered = True
        while True:
            # After an outage all owners must be heard of before their leases are judged.
            if self._wake.wait(every if answered else every / _SOONER):
                self._at_once.wait(_GATHER)
            self._at_once.clear()
            self._wake.clear()  # before the look at `over`: who sets both in between is seen, or wakes the next round
            if self._over.is_set() or self.lost:
                return
            try:
                answered = self.renew()
            except Exception:  # it does not say whose the run is; if this thread ended, a living apply would lose it
                logger.exception("lease not renewed", extra=log.ids(run=self.hold.run_id))
                answered = False

    def renew(self) -> bool:
        """Renew once; tells whether the database answered."""
        lease, stage = self._core.settings.lease, self.stage
        began = self._core.clock.boottime()
        try:
            run = self._ask(lease_ms=int(lease * 1000), stage=stage)
        except Unavailable as error:
            logger.warning("lease not renewed: %s", error.message, extra=log.ids(run=self.hold.run_id))
            return False
        if run is None:
            self.lost = True  # or over: the phase has just ended it, and is about to stop this
            return True
        self.valid_until = began + lease
        self.cancel_requested = self.cancel_requested or run.cancel_requested_at is not None
        self.freeze_requested = self.freeze_requested or run.freeze_requested_at is not None
        return True

    def _ask(self, *, lease_ms: int, stage: str) -> Run | None:
        """Say that we are there; None: the run is not ours any more."""
        try:
            return self._core.database.run_statement(owning.renew, self.hold, lease_ms=lease_ms, stage=stage)
        except Raced:
            return None


class WarmupLease(Lease):
    """Asks now and then whether a warm-up is still wanted: nobody waits for its lease."""

    def _ask(self, *, lease_ms: int, stage: str) -> Run | None:
        del lease_ms, stage  # a warm-up has a time limit instead, and the run is at no step of a phase
        return self._core.database.attempt(warming.renew, self.hold)
