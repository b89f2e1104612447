"""Stores the log of a phase while it grows."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import Executor
from pathlib import Path

from sqlalchemy.exc import IntegrityError

from iacq import log
from iacq.domain import masking
from iacq.domain.run import Phase
from iacq.errors import Unavailable
from iacq.services.core import Core
from iacq.store import logs
from iacq.store.session import DATABASE_UNAVAILABLE, Raced

logger = log.get(__name__)

_GATHER = 0.05
"""Seconds between a line and its way to the database: what is logged on the way to the start of terraform must not
hold up that start (SQLite has one writer at a time)."""
_AFTER_UNFORESEEN = 1.0
"""Seconds until the next attempt after an error that nobody foresaw."""
_CHUNK = 64 * 1024
"""Characters of one row."""


class LogWriter:
    """Takes lines at once, stores them from a thread. While the database is away it keeps them."""

    def __init__(
        self,
        core: Core,
        threads: Executor,
        run_id: int,
        phase: Phase,
        *,
        fence: int,
        effects_fence: int | None = None,
        first: bool = False,
    ) -> None:
        """first: nobody has written to this log."""
        self.fence = fence
        self.effects_fence = effects_fence
        self.masking = masking.NOTHING  # what the log does not show, once the phase knows it
        self._core = core
        self._run_id = run_id
        self._phase = phase
        self._start: int | None = 0 if first else None  # bytes that are stored; None: not asked yet
        self._uncertain = False  # the database did not answer: what was last sent may be stored, or not
        self._pending: list[str] = []
        self._file: Path | None = None  # how far the output of the present command is logged
        self._noted = 0
        self._lock = threading.Lock()  # of the lines
        self._flushing = threading.Lock()  # one writer at a time
        self._wake = threading.Event()
        self._over = threading.Event()
        self._working = threads.submit(self._work)

    def write(self, text: str) -> None:
        """Append whole lines, without what is secret."""
        text = _storable(self.masking.text(text))
        with self._lock:
            self._pending.append(text if text.endswith("\n") else text + "\n")
        self._wake.set()

    def follow_file(self, file: Path) -> int:
        """From now on keep in `file` how far the command's output is logged; returns how far it was, 0 at first."""
        self._file, self._noted = file, 0
        with contextlib.suppress(OSError, ValueError):
            return int(file.read_text())
        return 0

    def note(self, offset: int) -> None:
        """Say up to which byte of the output the lines written so far reach."""
        with self._lock:
            self._noted = offset

    def flush(self) -> None:
        """Store what was written so far. Raises Unavailable; drops everything if the run is not ours any more."""
        with self._flushing:
            with self._lock:
                text, self._pending = "".join(self._pending), []
                file, noted = self._file, self._noted
            stored = 0
            try:
                while stored < len(text):
                    self._store(text[stored : stored + _CHUNK])
                    stored += _CHUNK
                if file is not None and noted:
                    # Without the note a successor logs some lines twice; the directory goes once the run is not ours.
                    with contextlib.suppress(OSError), open(file, "w", opener=_open_private) as note:
                        note.write(str(noted))
            except Raced:
                logger.info("its log is not ours to write any more", extra=log.ids(run=self._run_id))
            except Exception as error:
                self._uncertain = True
                with self._lock:
                    self._pending.insert(0, text[stored:])
                if isinstance(error, IntegrityError):  # such a commit was made only now
                    raise Unavailable("the log is being stored", code=DATABASE_UNAVAILABLE) from error
                raise

    def close(self) -> None:
        """End the thread. What is not flushed is lost."""
        self._over.set()
        self._wake.set()
        self._working.result()

    def _store(self, text: str) -> None:
        database = self._core.database
        if self._start is None:
            self._start = database.read(logs.size, self._run_id, self._phase)
        # A commit that nobody answered may have been made all the same: then a beginning of the text is there.
        already = database.read(logs.size, self._run_id, self._phase) - self._start if self._uncertain else 0
        rest = text.encode()[already:].decode()
        if rest:
            database.run_statement(
                logs.append,
                self._run_id,
                self._phase,
                start=self._start + already,
                text=rest,
                fence=self.fence,
                effects=self.effects_fence,
            )
        self._start += len(text.encode())
        self._uncertain = False

    def _work(self) -> None:
        while True:
            self._wake.wait()
            self._over.wait(_GATHER)
            self._wake.clear()  # before the look at `over`: who sets both in between is seen, or wakes the next round
            if self._over.is_set():
                return
            try:
                self.flush()
            except Unavailable:
                self._wake.set()
            except Exception as error:  # noqa: BLE001 - this thread must not end of it; its text may hold secrets
                logger.warning("log not stored: %s", type(error).__name__, extra=log.ids(run=self._run_id))
                self._wake.set()
                self._over.wait(_AFTER_UNFORESEEN)


def _storable(text: str) -> str:
    """Replace what a database takes in no text: NUL (PostgreSQL), and halves of surrogate pairs (from JSON)."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
