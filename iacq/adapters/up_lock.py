"""One `iacq up` per HOME: a lock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from iacq.adapters import private_directory
from iacq.errors import Conflict


class UpLock:
    """The lock of one HOME, with the holder's process id in it."""

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Make HOME private and take its lock. Raises Conflict that names the holder."""
        private_directory.ensure(self._home)
        path = private_directory.ensure(self._home / "run") / "up.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise Conflict(
                f"iacq runs already for {self._home}: process {holder}",
                hint=f"stop it (^C in its terminal, or `kill {holder}`), or use another IACQ_HOME",
                code="already_up",
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next one in; no error if it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)
