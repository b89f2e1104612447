"""Time that moves when it is told to."""

from __future__ import annotations

START_MS = 1_800_000_000_000
"""Where a fake clock begins: 2027-01-15, in ms since the epoch."""


class FakeClock:
    """Implements `ports.Clock`; `now_ms` also serves as the virtual clock of a `store.session.Database`."""

    def __init__(self) -> None:
        self._passed_ms = 0

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return START_MS + self._passed_ms

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._passed_ms / 1000

    def boottime(self) -> float:
        """Seconds since this clock was made: nothing ever suspends."""
        return self._passed_ms / 1000

    def sleep(self, seconds: float) -> None:
        """Let that time pass at once."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._passed_ms += round(seconds * 1000)
