"""Does the faults of a schedule at their times."""

import heapq
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from tests.chaos import faults
from tests.chaos.scene import Scene
from tests.chaos.schedule import Fault

LOOK = 0.2
"""Seconds between two looks at what ended by itself."""


class Torment:
    """One pass through a schedule, in the thread that started the programs."""

    def __init__(self, scene: Scene, schedule: Sequence[Fault]) -> None:
        self.skipped: list[str] = []
        self._scene = scene
        self._to_come = sorted(schedule, key=lambda fault: fault.at, reverse=True)
        self._under_way: list[tuple[float, int, AbstractContextManager[None]]] = []
        self._pause = threading.Event()  # never set

    def run(self, seconds: float) -> None:
        """Do it all; returns when the time is over and whatever was away is back."""
        began = time.monotonic()
        try:
            while (now := time.monotonic() - began) < seconds:
                while self._to_come and self._to_come[-1].at <= now:
                    self._begin(self._to_come.pop())
                while self._under_way and self._under_way[0][0] <= now:
                    self._end()
                self._scene.tend()
                self._pause.wait(LOOK)
        finally:
            while self._under_way:
                self._end()

    def _begin(self, fault: Fault) -> None:
        doing = faults.act(self._scene, fault)
        try:
            doing.__enter__()
        except faults.FAILURES as error:
            self.skipped.append(f"{fault.at:7.2f} s  {fault.kind}: {error}")
        else:
            heapq.heappush(self._under_way, (fault.until, id(doing), doing))

    def _end(self) -> None:
        heapq.heappop(self._under_way)[2].__exit__(None, None, None)
