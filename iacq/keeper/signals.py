"""Signals to a job's program, as files: what is asked for, and what was sent.

SIGINT twice makes terraform lose what is in flight: it is sent once in the life of a job, whoever sends it.
"""

from __future__ import annotations

import contextlib
import enum
import os
from pathlib import Path


class Signal(enum.Enum):
    """What may be done to a running program: name of the request, of the mark, of the signal."""

    INTERRUPT = ("interrupt", "interrupted", "SIGINT")
    KILL = ("kill", "killed", "SIGKILL")


def request(directory: Path, which: Signal) -> None:
    """Ask whoever manages the job to signal it. No error if the job is gone. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        _create(directory / which.value[0])


def requested(directory: Path, which: Signal) -> bool:
    """Tell whether somebody asked for it."""
    return (directory / which.value[0]).exists()


def mark(directory: Path, which: Signal) -> bool:
    """Record that the signal is sent now. False: it was sent before. Raises OSError."""
    return _create(directory / which.value[1])


def sent(directory: Path) -> list[str]:
    """Return the names of the signals that were sent on request."""
    return [which.value[2] for which in Signal if (directory / which.value[1]).exists()]


def _create(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    return True
