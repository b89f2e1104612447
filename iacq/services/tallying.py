"""Count what happened, for metrics."""

from __future__ import annotations

from iacq.services.core import Core
from iacq.store import control, totals

_AT_ONCE = 50
"""Runs that one transaction counts: who confirms one of them meanwhile, or writes to SQLite, waits milliseconds."""


def tally(core: Core) -> int:
    """Note that beat was heard, and count the runs of which something was not counted; returns how many."""
    core.database.run(control.tick)
    counted = 0
    while found := core.database.attempt(totals.fill, limit=_AT_ONCE):
        counted += found
    return counted
