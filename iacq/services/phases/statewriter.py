"""Stores the managed state while terraform applies, so that a killed pod loses at most about a second of it."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future
from pathlib import Path

from iacq import log
from iacq.errors import IacqError, Unavailable
from iacq.services import states
from iacq.services.core import Core
from iacq.store.session import Raced

logger = log.get(__name__)

_EVERY = 0.5
"""Seconds between two looks at the file."""


class StateWriter:
    """Puts the state file into the working row whenever it changed. A context manager."""

    def __init__(
        self,
        core: Core,
        threads: Executor,
        workspace: str,
        run_id: int,
        *,
        fence: int,
        effects_fence: int,
        file: Path,
    ) -> None:
        self._core = core
        self._threads = threads
        self._workspace = workspace
        self._run_id = run_id
        self._fences = (fence, effects_fence)
        self._file = file
        self._stored = self._mark()
        self._over = threading.Event()
        self._working: Future[None] | None = None

    def __enter__(self) -> None:
        self._working = self._threads.submit(self._work)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._working is not None:
            self._working.result()

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _work(self) -> None:
        while not self._over.wait(_EVERY):
            try:
                mark = self._mark()
                if mark is not None and mark != self._stored:
                    self._store()
                    self._stored = mark
            except Raced:
                return
            except (IacqError, OSError) as error:
                if isinstance(error, Unavailable):  # else terraform is writing it: the next look sees a whole one
                    self._say(error)
            except Exception as error:  # noqa: BLE001 - as IntegrityError: a commit without an answer is made only now
                self._say(error)

    def _say(self, error: Exception) -> None:
        logger.warning("state not stored: %s", type(error).__name__, extra=log.ids(run=self._run_id))

    def _store(self) -> None:
        new = states.prepare(self._core, self._workspace, self._file.read_bytes())
        if new is None:
            return
        fence, effects_fence = self._fences
        self._core.database.run(
            states.save_working,
            self._workspace,
            new,
            run_id=self._run_id,
            fence=fence,
            effects_fence=effects_fence,
        )
