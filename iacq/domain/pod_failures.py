"""When to try again after pods of a pool failed: could not be started, never registered, vanished, or crashed.

Kept per pool and never per pod, since the next pod has another name. Pods that were under way together count as one
failure, so that a hundred that fail at once wait no longer than one; noticing a failure twice changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY_MS = 5_000
LONGEST_DELAY_MS = 5 * 60_000
PROVEN_MS = 30_000
"""How long a pod must have been online to show that pods of its pool work; many crash in their first seconds."""


@dataclass(frozen=True, kw_only=True)
class PodFailures:
    """Failures in a row. Between the first of them and a pod that works, pods are tried one at a time."""

    count: int = 0
    first_created_at: int = 0  # ms: when the pod of the first of them was asked for
    last_at: int = 0  # ms: when the last of them was noticed


NONE = PodFailures()


def after_failure(failures: PodFailures, *, created_at: int, now: int) -> PodFailures:
    """Count a pod that failed, unless it was asked for before the last failure was noticed."""
    if not failures.count:
        return PodFailures(count=1, first_created_at=created_at, last_at=now)
    if created_at <= failures.last_at:
        return failures
    return PodFailures(count=failures.count + 1, first_created_at=failures.first_created_at, last_at=now)


def after_online(failures: PodFailures, *, created_at: int, online_since: int, now: int) -> PodFailures:
    """End the row for a pod that works, if it is not older than the first failure: older ones prove nothing."""
    proven = now - online_since >= PROVEN_MS
    return NONE if proven and created_at >= failures.first_created_at else failures


def retry_at(failures: PodFailures) -> int | None:
    """Return when the next pod may be tried, ms; None: at any time."""
    if not failures.count:
        return None
    doublings = min(failures.count - 1, 16)  # far beyond the longest delay
    return failures.last_at + min(FIRST_DELAY_MS << doublings, LONGEST_DELAY_MS)


def at_once(failures: PodFailures, *, wanted: int, starting: int) -> int:
    """Return how many of the wanted pods to start beside those that are starting: one at a time until one works."""
    return max(0, min(wanted, 1 - starting)) if failures.count else wanted
