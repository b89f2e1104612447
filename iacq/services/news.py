"""Tell somebody who watches what happens to runs. A look costs what happened since the last one, whatever waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from iacq.services.core import Core
from iacq.store import happened
from iacq.store.happened import Happened

_LATE = 3.0
"""Seconds for which numbers are looked at again: who took an earlier number may commit after a later one."""


class News:
    """Tells each change of a run's state once, from now on."""

    def __init__(self, core: Core) -> None:
        """Begin now. Raises Unavailable if the database is away."""
        self._core = core
        self._after = core.database.read(happened.latest)  # all up to here is known
        self._told: set[int] = set()  # of those behind it
        self._looks: deque[tuple[float, int]] = deque()  # when, and the last number then

    def fresh(self) -> Sequence[Happened]:
        """Return what happened since the last call, by number. Raises Unavailable: it is told the next time."""
        found = self._core.database.read(happened.since, self._after)
        new = [one for one in found if one.id not in self._told]
        self._told |= {one.id for one in new}
        self._settle(found[-1].id if found else self._after)
        return new

    def _settle(self, last: int) -> None:
        """Forget what is too old to be overtaken."""
        now = self._core.clock.monotonic()
        self._looks.append((now, last))
        while now - self._looks[0][0] >= _LATE:
            _, self._after = self._looks.popleft()
        self._told = {number for number in self._told if number > self._after}
