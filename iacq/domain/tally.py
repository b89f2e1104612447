"""What a run adds to the totals that metrics count, when its plan is over and when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iacq.domain import transitions
from iacq.domain.run import Phase, Status

BUCKETS = (
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
    3600.0,
    14400.0,
)
"""Upper bounds of the histograms, in seconds: from a hot start to a wait of hours. Above is `+Inf`."""

ENDED = "runs_ended"
STARTS = "apply_starts"
STEPS = "step_seconds"
SETBACKS = "setbacks"
"""By cause, of runs that were removed; those of the others are counted where they are."""
SUM = "sum"
"""In the place of a bucket's bound: the sum of all values."""

NOTHING, PLAN, ALL = 0, 1, 2
"""What was counted of a run."""

PLANNING = frozenset(status for status, phase in transitions.PHASE_OF.items() if phase is Phase.PLAN)
"""States before the end of the plan."""

Totals = Counter[tuple[str, tuple[str, ...]]]
"""Amounts by metric and values of its labels."""


@dataclass(frozen=True, kw_only=True)
class Untallied:
    """What counts of a run of which something was not counted yet."""

    tallied: int
    status: Status
    run_type: str
    pool: str
    start_tier: str | None
    timings: Any  # phase → step → ms, if nobody damaged it


def tallied_after(run: Untallied) -> int:
    """Tell what was counted of a run after `count`."""
    return ALL if run.status in transitions.ENDED else PLAN


def count(run: Untallied) -> Totals:
    """Return what a run adds: the steps of its plan once, the rest at its end."""
    totals: Totals = Counter()
    ended = run.status in transitions.ENDED
    if run.tallied == NOTHING:
        _add_steps(totals, run, Phase.PLAN)
    if ended:
        _add_steps(totals, run, Phase.APPLY)
        totals[ENDED, (run.pool, run.run_type, run.status)] += 1
        if run.start_tier:
            totals[STARTS, (run.pool, run.start_tier)] += 1
    return totals


def _add_steps(totals: Totals, run: Untallied, phase: Phase) -> None:
    steps = run.timings.get(phase) if isinstance(run.timings, Mapping) else None
    for step, took in steps.items() if isinstance(steps, Mapping) else ():
        if not isinstance(took, int | float):
            continue
        seconds = took / 1000
        bound = next((f"{bucket:g}" for bucket in BUCKETS if seconds <= bucket), "+Inf")
        labels = (run.pool, phase.value, step)
        totals[STEPS, (*labels, bound)] += 1
        totals[STEPS, (*labels, SUM)] += seconds  # type: ignore[assignment] # a Counter may count parts
