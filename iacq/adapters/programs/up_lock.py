"""One `iacq up`, and one host of pods, per HOME: a lock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from iacq.adapters import private_directory
from iacq.errors import Conflict

_PAUSES = (0.0, 0.005, 0.01, 0.02)
"""Seconds before each attempt to take it: whoever only looks whether it is held holds it for some microseconds."""


class UpLock:
    """The lock of one HOME, with the holder's process id in it."""

    def __init__(self, home: Path, name: str = "up.lock") -> None:
        self._home = home.resolve()
        self._name = name
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Make HOME private and take its lock. Raises Conflict that names the holder."""
        private_directory.ensure(self._home)
        path = private_directory.ensure(self._home / "run") / self._name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(descriptor, fcntl.LOCK_EX, _PAUSES):
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise Conflict(
                f"iacq runs already for {self._home}: process {holder}",
                hint=f"stop it (^C in its terminal, or `kill {holder}`), or use another IACQ_HOME",
                code="already_up",
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def is_held(self) -> bool:
        """Tell whether somebody holds it."""
        try:
            descriptor = os.open(self._home / "run" / self._name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Let the next one in; no error if it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)


def _lock(descriptor: int, kind: int, pauses: tuple[float, ...] = (0.0,)) -> bool:
    """Take the lock if nobody holds it, and try again after each of these pauses (seconds)."""
    for pause in pauses:
        time.sleep(pause)  # a bounded poll: flock cannot wait with a time-out
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
    return False
