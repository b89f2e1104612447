"""Shorten a history that led to something wrong, as long as it still does."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.walk.walk import Broken, Decision

Replay = Callable[[list[Decision]], Broken | None]
"""Takes these steps anew; returns what was wrong then, if anything was."""


def shrink(found: Broken, replay: Replay, *, seconds: float) -> Broken:
    """Leave out what is not needed: larger pieces first, then single steps, until the time is over."""
    until = time.monotonic() + seconds
    size = max(1, len(found.decisions) // 2)
    while True:
        at, shorter = 0, False
        while at < len(found.decisions):
            if time.monotonic() >= until:
                return found
            again = replay(found.decisions[:at] + found.decisions[at + size :])
            if again is not None and again.unforeseen is found.unforeseen:
                found, shorter = again, True
            else:
                at += size
        if size == 1 and not shorter:
            return found
        size = max(1, size // 2)
