"""The lock of a job: held by its program and all that inherited the descriptor, with or without a keeper."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from pathlib import Path

LOCK = "alive.lock"

_SHARED = re.compile(r"^lock:.*FLOCK\s+ADVISORY\s+READ", re.MULTILINE)


def hold(directory: Path) -> int:
    """Return a descriptor that holds the lock; whoever inherits it holds it too. Raises OSError."""
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # Shared, so that it waits for those who look (microseconds) and never for another keeper's program.
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def is_held(directory: Path) -> bool:
    """Tell whether some process holds it. Raises OSError."""
    try:
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # A holder shares the lock; who looks wants it alone, and may meet another one who looks.
        for pause in (0.001, 0.002, 0.0):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return False
            time.sleep(pause)
        return True
    finally:
        os.close(descriptor)


def holders(directory: Path) -> set[int]:
    """Return the pids that hold the lock, of those that this process may inspect. Who only looks is none."""
    wanted = os.path.realpath(directory / LOCK)
    return {int(name) for name in os.listdir("/proc") if name.isdigit() and _holds(name, wanted)}


def _holds(pid: str, wanted: str) -> bool:
    try:
        return any(
            os.readlink(f"/proc/{pid}/fd/{number}") == wanted
            and _SHARED.search(Path(f"/proc/{pid}/fdinfo/{number}").read_text())
            for number in os.listdir(f"/proc/{pid}/fd")
        )
    except OSError:  # it ended, or belongs to somebody else
        return False
