"""From confirm() to the first instruction of the apply's terraform, in the kept directory; and iacq's own share."""

import time
from collections.abc import Iterator

from iacq.domain.run import StartTier
from iacq.domain.transitions import Cause
from tests.bench.figure import Figure, median_and_p99
from tests.bench.system import Space, System

SAMPLES = 200
_FIRST = 5
"""Runs that are not counted: the first ones import modules and prepare statements."""


def measure(space: Space) -> Iterator[Figure]:
    started, own = [], []
    with space.system() as system:
        system.workspace("hot", {"main.tf": ""})
        for number in range(_FIRST + SAMPLES):
            to_start, overhead = _sample(system)
            if number >= _FIRST:
                started.append(to_start)
                own.append(overhead)
    database = "postgresql" if space.postgres else "sqlite"
    yield from median_and_p99(f"confirm_to_terraform_{database}", started, "ms", median=20, p99=50)
    yield from median_and_p99(f"own_time_in_apply_{database}", own, "ms", median=20, p99=50)


def _sample(system: System) -> tuple[float, float]:
    run = system.planned("hot")
    began = time.time()
    applied = system.applied(run)
    if applied.start_tier is not StartTier.HOT:
        raise RuntimeError(f"run {run.id} started {applied.start_tier}, not hot")
    to_start = (system.spy.first(run.id, "apply").at - began) * 1000
    return to_start, system.phase_ms(applied, Cause.CLAIMED) - applied.timings["apply"]["terraform"]
