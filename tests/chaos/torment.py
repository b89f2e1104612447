"""Does the faults of a schedule at their times."""

import heapq
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from tests.chaos import faults
from tests.chaos.scene import Scene
from tests.chaos.schedule import Fault

Act = Callable[[Scene, Fault], AbstractContextManager[None]]
LOOK = 0.2
"""Seconds between two looks at what ended by itself."""


class Torment:
    """One pass through a schedule, in the thread that started the programs."""

    def __init__(self, scene: Scene, schedule: Sequence[Fault], act: Act = faults.act) -> None:
        """act: does one fault."""
        self.skipped: list[str] = []
        self._scene = scene
        self._act = act
        self._to_come = sorted(schedule, key=lambda fault: fault.at, reverse=True)
        self._under_way: list[tuple[float, int, AbstractContextManager[None]]] = []
        self._pause = threading.Event()  # never set

    def run(self, seconds: float) -> None:
        """Do it all; returns when the time is over and whatever was away is back.

        On a busy machine a fault takes a while to begin. The time of the schedule stands still then, so that the same
        faults overlap everywhere.
        """
        now, looked_at = 0.0, time.monotonic()
        try:
            while now < seconds:
                now += min(time.monotonic() - looked_at, 2 * LOOK)
                looked_at = time.monotonic()
                self._do_due(now)
                self._scene.tend()
                self._pause.wait(LOOK)
        finally:
            while self._under_way:
                self._end()

    def _do_due(self, now: float) -> None:
        """Begin and end what is due, in its order."""
        while True:
            begin = self._to_come[-1].at if self._to_come else math.inf
            end = self._under_way[0][0] if self._under_way else math.inf
            if min(begin, end) > now:
                return
            if begin < end:
                self._begin(self._to_come.pop())
            else:
                self._end()

    def _begin(self, fault: Fault) -> None:
        doing = self._act(self._scene, fault)
        try:
            doing.__enter__()
        except faults.FAILURES as error:
            self.skipped.append(f"{fault.at:7.2f} s  {fault.kind}: {error}")
        else:
            heapq.heappush(self._under_way, (fault.until, id(doing), doing))

    def _end(self) -> None:
        heapq.heappop(self._under_way)[2].__exit__(None, None, None)
