"""Remove what is kept long enough: runs with all that belongs to them, and before that what takes most room.

Whoever does it does little at a time, so that nobody waits for a lock; several may do it at once, and one that was
interrupted is done again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from iacq import log
from iacq.services.core import Apart, Core
from iacq.store import retention

logger = log.get(__name__)

_AT_ONCE = 50
"""Runs of one transaction."""
_STATES_AT_ONCE = 10
"""State versions of one transaction: each may have megabytes."""
_PAUSE = 0.05
"""Seconds at least between two of them."""
_ROUND = 30.0
"""Seconds after which what is left is for the next time: the worker has other jobs."""


@dataclass(kw_only=True)
class Removed:
    """What one round removed."""

    runs: int = 0
    artifacts: int = 0  # of runs that are kept
    logs: int = 0  # runs whose log was removed
    states: int = 0

    @property
    def anything(self) -> bool:
        """Tell whether there was anything to remove."""
        return any((self.runs, self.artifacts, self.logs, self.states))


def retain(core: Core) -> Removed:
    """Remove what settings say is kept long enough, for half a minute at most; returns what it was."""
    removed = Removed()
    until = core.clock.monotonic() + _ROUND
    removed.runs = _repeat(core, until, _remove_runs)
    removed.artifacts = _repeat(core, until, _remove_artifacts)
    removed.logs = _repeat(core, until, _remove_logs)
    removed.states = _repeat(core, until, _remove_states)
    if removed.anything:
        logger.info(
            "removed %d runs, %d artifacts, %d logs, %d state versions",
            removed.runs,
            removed.artifacts,
            removed.logs,
            removed.states,
        )
    return removed


def _repeat(core: Core, until: float, remove: Callable[[Core], int]) -> int:
    total = 0
    with Apart(job=remove.__name__):
        while (began := core.clock.monotonic()) < until and (removed := remove(core)):
            total += removed
            # SQLite has one writer, and whoever waits looks for its turn now and then: half of the time is theirs.
            core.clock.sleep(max(_PAUSE, core.clock.monotonic() - began))
    return total


def _remove_runs(core: Core) -> int:
    found = core.database.read(retention.ended, older_than_ms=_ms(core.settings.run_keep), limit=_AT_ONCE)
    for run_id in found:
        for key in core.artifacts.keys(_directory(run_id)):
            core.artifacts.delete(key)
    return core.database.run(retention.remove_runs, found) if found else 0


def _remove_artifacts(core: Core) -> int:
    age = _ms(core.settings.artifact_keep)
    found = core.database.read(retention.with_early_artifacts, older_than_ms=age, limit=_AT_ONCE)
    for run_id in found:
        # Also what claims stored that were lost afterwards: no row names it.
        for key in set(core.artifacts.keys(_directory(run_id))) - core.database.read(retention.lasting_keys, run_id):
            core.artifacts.delete(key)
    return core.database.run(retention.forget_early_artifacts, found) if found else 0


def _remove_logs(core: Core) -> int:
    return core.database.run(retention.remove_logs, older_than_ms=_ms(core.settings.log_keep), limit=_AT_ONCE)


def _remove_states(core: Core) -> int:
    return core.database.run(retention.remove_states, keep=core.settings.state_keep, limit=_STATES_AT_ONCE)


def _directory(run_id: int) -> str:
    return f"runs/{run_id}"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
