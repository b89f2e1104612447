"""How long to wait before something that ended is started again."""

from __future__ import annotations

FIRST = 0.1
"""Seconds before the first new start."""

LONGEST = 10.0
"""Seconds before any later one, at most; the wait doubles up to here."""

HEALTHY = 30.0
"""Seconds of life after which the next wait is the first again."""


class Backoff:
    """The waits of one child."""

    def __init__(self) -> None:
        """Begin with the shortest."""
        self._next = FIRST

    def after(self, lived: float) -> float:
        """Return how long to wait after a life of `lived` seconds."""
        wait = FIRST if lived >= HEALTHY else self._next
        self._next = min(wait * 2, LONGEST)
        return wait
