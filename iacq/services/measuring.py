"""Read the metrics from the database, and tell whether the control plane is well."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from iacq.domain import tally, transitions
from iacq.domain.metrics import Metric, Sample
from iacq.errors import Unavailable
from iacq.services import scaling, views
from iacq.services.core import Core
from iacq.store import control, counts, freezes, totals
from iacq.store.session import Transaction

_SILENT_MS = 30_000
"""After so long without hearing beat, a control worker is not well."""
_DEAF = 120.0
"""Seconds without a job: among several workers, each does one every few seconds."""


def measure(core: Core) -> list[Metric]:
    """Return every metric of the control plane. Raises Unavailable if the database is away."""
    began = core.clock.monotonic()
    found = core.database.read(_read, warmups=core.settings.warmup_retries)
    took = core.clock.monotonic() - began
    return [_single("iacq_database_up", 1), _single("iacq_scrape_seconds", took), *found]


def measure_or_say_down(core: Core) -> list[Metric]:
    """Return every metric; of a database that is away only that."""
    try:
        return measure(core)
    except Unavailable:
        return [_single("iacq_database_up", 0)]


def find_faults(core: Core) -> list[str]:
    """Say what is wrong with the control plane; nothing: it is well."""
    try:
        _, beat = core.database.read(control.silences)
    except Unavailable as error:
        return [error.message]
    if beat is None:
        return ["no control worker has heard beat yet"]
    return [f"no control worker has heard beat for {beat // 1000} s"] if beat > _SILENT_MS else []


def find_deafness(core: Core, idle: float) -> list[str]:
    """Say that this control worker is stuck: it has done nothing for long, while others go on hearing beat.

    idle: seconds since it did a job. Without database, broker or beat nobody does anything, and none is stuck.
    """
    try:
        _, beat = core.database.read(control.silences)
    except Unavailable:
        return []
    heard = beat is not None and beat <= _SILENT_MS
    return [f"others hear beat, and this worker has done nothing for {idle:.0f} s"] if heard and idle > _DEAF else []


def _read(tx: Transaction, *, warmups: int) -> list[Metric]:
    counts.bound_statements(tx)
    control_silent, beat_silent = control.silences(tx)
    bells, oldest = counts.bells(tx)
    setbacks = totals.setbacks(tx)
    return [
        _series("iacq_runs_ended_total", totals.read(tx, tally.ENDED)),
        _series("iacq_apply_starts_total", totals.read(tx, tally.STARTS)),
        Metric(name="iacq_step_seconds", samples=tuple(_histograms(totals.read(tx, tally.STEPS)))),
        _series("iacq_setbacks_total", {(cause,): setbacks.get(cause, 0) for cause in transitions.SETBACKS}),
        *_unended(tx),
        _series("iacq_pods", counts.pods_by_status(tx)),
        *_wanted(tx, warmups),
        _series("iacq_pool_frozen", {(found.pool,): found.frozen for found in freezes.listed(tx)}),
        _series("iacq_slots", counts.slots_by_status(tx)),
        _series("iacq_slots_closed", counts.closed_slots(tx)),
        _single("iacq_outbox_bells", bells),
        _single("iacq_outbox_oldest_seconds", oldest / 1000),
        _silence("iacq_control_silent_seconds", control_silent),
        _silence("iacq_beat_silent_seconds", beat_silent),
    ]


def _wanted(tx: Transaction, warmups: int) -> list[Metric]:
    """Say how many pods each pool should have, and how many its runs need."""
    desired = {(name,): found for name, found in scaling.desired_pods(tx, warmups=warmups).items()}
    return [
        _series("iacq_pods_desired", {pool: found.pods for pool, found in desired.items()}),
        _series("iacq_pods_needed", {pool: found.needed for pool, found in desired.items()}),
    ]


def _unended(tx: Transaction) -> list[Metric]:
    now_ms = counts.now_ms(tx)
    unended: Counter[tuple[str, ...]] = Counter()
    waiting: Counter[tuple[str, ...]] = Counter()
    oldest: dict[tuple[str, ...], float] = defaultdict(float)
    for run, why in views.explain_all(tx):
        unended[run.pool, run.status] += 1
        if why is not None:
            place = (run.pool, why.code)
            waiting[place] += 1
            oldest[place] = max(oldest[place], (now_ms - (run.queued_at or run.created_at)) / 1000)
    return [
        _series("iacq_runs", unended),
        _series("iacq_runs_waiting", waiting),
        _series("iacq_runs_waiting_oldest_seconds", oldest),
    ]


def _histograms(found: Mapping[tuple[str, ...], float]) -> Iterable[Sample]:
    """Put the buckets of each series together, each with those below it."""
    by_series: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for place, value in found.items():
        by_series[place[:-1]][place[-1]] = value
    for labels, values in sorted(by_series.items()):
        bounds = sorted({f"{bucket:g}" for bucket in tally.BUCKETS} | {"+Inf"} | values.keys() - {tally.SUM}, key=float)
        upto, buckets = 0.0, []
        for bound in bounds:
            upto += values.get(bound, 0)
            buckets.append((bound, upto))
        yield Sample(labels=labels, value=values.get(tally.SUM, 0), buckets=tuple(buckets))


def _series(name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
    return Metric(
        name=name, samples=tuple(Sample(labels=labels, value=value) for labels, value in sorted(values.items()))
    )


def _single(name: str, value: float) -> Metric:
    return Metric(name=name, samples=(Sample(labels=(), value=value),))


def _silence(name: str, ms: int | None) -> Metric:
    return Metric(name=name, samples=()) if ms is None else _single(name, ms / 1000)
