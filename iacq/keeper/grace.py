"""How the grace of a stopping pod is shared: first running phases may end, then terraform is interrupted."""

from __future__ import annotations

_LONGEST_STOP = 120.0


def running_may_last(stop_grace: float) -> float:
    """Return the seconds that a running phase still has when its pod is told to stop."""
    return stop_grace - stopping_may_last(stop_grace)


def stopping_may_last(stop_grace: float) -> float:
    """Return the seconds from SIGINT to SIGKILL of what runs in a stopping pod."""
    return min(_LONGEST_STOP, stop_grace / 2)
