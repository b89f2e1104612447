"""Stopping programs together: SIGTERM, then their grace, then SIGKILL; sooner for somebody in a hurry."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable

from iacq.adapters.programs.supervised_program import SupervisedProgram


class Stopping:
    """Programs that were told to stop. Used by the thread that started them."""

    def __init__(self, children: Iterable[SupervisedProgram], tell: Callable[[str], None]) -> None:
        """Send SIGTERM to those that run. tell: gets a line for each thing that happens."""
        self.living = [child for child in children if child.pid]
        self._tell = tell
        self._answered = 0
        for child in self.living:
            tell(f"{child.program.name}: stopping")
            child.send(signal.SIGTERM)
        now = time.monotonic()
        self._kill_at = {child: now + child.program.grace for child in self.living}

    @property
    def due(self) -> float:
        """When `turn` has something to do even if nothing happens, monotonic seconds; infinite: never."""
        return min((self._kill_at[child] for child in self.living), default=math.inf)

    def turn(self, hurries: int = 0) -> None:
        """Take note of what ended, and kill what is late.

        hurries: how often somebody was in a hurry since the beginning: SIGTERM once more, then SIGKILL.
        """
        for child in self.living:
            how = child.reap()
            if how is not None:
                self._tell(f"{child.program.name}: stopped, {how}")
            elif time.monotonic() >= self._kill_at[child] or hurries > 1:
                self._kill_at[child] = math.inf
                child.send(signal.SIGKILL)
            elif hurries > self._answered:
                child.send(signal.SIGTERM)
        self._answered = hurries
        self.living = [child for child in self.living if child.pid]
