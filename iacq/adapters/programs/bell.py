"""What wakes a thread that waits for its children."""

from __future__ import annotations

import contextlib
import math
import os
import select
from collections.abc import Iterable


class Bell:
    """One thread sleeps by it; others ring, and so may a signal handler. If nobody sleeps, the next sleep is short."""

    def __init__(self) -> None:
        self._eventfd = -1

    @property
    def hangs(self) -> bool:
        """Tell whether it can be rung: between `hang` and `take_down`."""
        return self._eventfd >= 0

    def hang(self) -> None:
        """Make it ready."""
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def take_down(self) -> None:
        """Close it; nobody sleeps by it any more, and a late ring is lost."""
        eventfd, self._eventfd = self._eventfd, -1  # first: a signal handler must not ring what is closed
        os.close(eventfd)

    def ring(self) -> None:
        """Wake the sleeper."""
        if self.hangs:
            os.eventfd_write(self._eventfd, 1)

    def sleep(self, others: Iterable[int | None], seconds: float) -> None:
        """Sleep until somebody rings, one of the other descriptors can be read, or the time is over.

        others: None is left out. seconds: infinite for no limit.
        """
        poll = select.poll()
        poll.register(self._eventfd, select.POLLIN)
        for descriptor in others:
            if descriptor is not None:
                poll.register(descriptor, select.POLLIN)
        poll.poll(None if seconds == math.inf else math.ceil(max(0.0, seconds) * 1000))
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._eventfd)
