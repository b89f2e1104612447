"""One child program and its life: what it is, when it may start again, and its present process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from iacq.adapters.programs import child_process


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program to run in the foreground of `iacq up`."""

    name: str  # for people
    argv: tuple[str, ...]
    environment: Mapping[str, str]  # complete: nothing is inherited
    log: Path  # takes its standard output and error
    grace: float = 10.0  # seconds from SIGTERM to SIGKILL


@dataclass(frozen=True, kw_only=True)
class Restarts:
    """When a program that ended by itself starts again."""

    first: float = 0.5  # seconds after the first end; doubles with each further one in a row
    longest: float = 30.0  # seconds; it does not grow beyond
    attempts: int = 8  # ends in a row after which it is given up
    settled: float = 60.0  # seconds of life after which the count starts over

    def delay(self, ends: int) -> float | None:
        """Return the seconds to wait after the `ends`-th end in a row; None: give up."""
        if ends >= self.attempts:
            return None
        return float(min(self.longest, self.first * 2 ** (ends - 1)))


class SupervisedProgram:
    """A program with its present process. Used by one thread only, which must outlive the process."""

    def __init__(self, program: Program, restarts: Restarts) -> None:
        self.program = program
        self.restart_at: float | None = None  # monotonic seconds
        self.descriptor: int | None = None  # pidfd of the living process; readable when it ended
        self.pid = 0
        self._restarts = restarts
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._ends = 0

    def launch(self, now: float) -> None:
        """Start the process. Raises Unavailable."""
        self.restart_at = None
        program = self.program
        self._process = child_process.start(program.argv, environment=program.environment, log=program.log)
        self._started_at = now
        self.pid = self._process.pid
        self.descriptor = os.pidfd_open(self.pid)

    def send(self, number: signal.Signals) -> None:
        """Signal the process alone: what it started is its own business, keepers outlive an agent."""
        if self.descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.descriptor, number)

    def reap(self) -> str | None:
        """Return how the process ended if it just did; None if it lives, or none was started."""
        ended = self._process.poll() if self._process else None
        if ended is None or self.descriptor is None:
            return None
        os.close(self.descriptor)
        self.descriptor, self._process, self.pid = None, None, 0
        return child_process.describe_end(ended)

    def plan_restart(self, now: float) -> float | None:
        """Decide after an end when to start again; returns the seconds until then, or None: given up."""
        if now - self._started_at >= self._restarts.settled:
            self._ends = 0
        self._ends += 1
        delay = self._restarts.delay(self._ends)
        self.restart_at = None if delay is None else now + delay
        return delay
