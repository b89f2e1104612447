"""Does what happened keep the promise: what was confirmed is applied once, not twice and not never?

Pure: facts in, verdict out. Its own tests show that it can say no.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from iacq.domain import transitions
from iacq.domain.run import RunType, Status
from iacq.domain.transitions import Cause
from tests.chaos.facts import Facts, JudgedRun
from tests.chaos.journal import Entry
from tests.chaos.schedule import Kind

LEAST_APPLIED = 0.8
"""Part of the confirmed runs."""
LOSES_APPLIES = frozenset(
    {Kind.KILL_POD, Kind.DELETE_POD, Kind.PAUSE_POD, Kind.PAUSE_SLOT, Kind.KILL_HOST, Kind.CANCEL}
)
"""Kinds after which an apply may be `apply_interrupted`. Any other one must be survived, unless two meet a run."""
ABSENCES = frozenset({Kind.KILL_DATABASE, Kind.PAUSE_DATABASE, Kind.OUTAGE})
"""Whoever dies then is not succeeded before its lease has ended; alone they must be survived."""
CONSEQUENCE_MS = 60_000
"""Until then an interruption may follow from a fault."""
SLIP_MS = 50
"""Several clocks are read: of the database, of scripts, and ours."""


@dataclass(kw_only=True)
class Verdict:
    """What was found. The lists name what contradicts the promise."""

    double_applies: list[str] = field(default_factory=list)
    unconfirmed_applies: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # promised, and neither applied nor ended with a reason
    stuck: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)  # interrupted, and no fault says why
    states: list[str] = field(default_factory=list)  # that do not hold what was applied
    orphans: list[str] = field(default_factory=list)
    leaked_dirs: list[str] = field(default_factory=list)
    leaked_holds: list[str] = field(default_factory=list)  # slots, queues, rows
    too_few: list[str] = field(default_factory=list)  # applied
    confirmed: int = 0
    applied: int = 0
    interrupted: int = 0
    recoveries: dict[Kind, list[float]] = field(default_factory=dict)  # seconds, of each fault

    def violations(self) -> dict[str, list[str]]:
        """Return the lists that are not empty, by name."""
        return {name: found for name, found in vars(self).items() if isinstance(found, list) and found}


def judge(facts: Facts) -> Verdict:
    """Look at everything."""
    confirmed = [run for run in facts.runs if run.confirmed_at is not None]
    verdict = Verdict(
        double_applies=[*_doubled(facts), *_started_twice(facts)],
        unconfirmed_applies=list(_unconfirmed(facts)),
        lost=[*_forgotten(facts), *_without_effect(facts, confirmed), *_without_reason(confirmed)],
        stuck=[_describe(run) for run in facts.runs if run.status not in transitions.ENDED],
        unexplained=list(_unexplained(facts)),
        states=list(_states(facts, confirmed)),
        orphans=list(facts.leftovers.processes),
        leaked_dirs=list(facts.leftovers.directories),
        leaked_holds=[*facts.leftovers.slots, *facts.leftovers.queues, *facts.leftovers.rows],
        confirmed=len(confirmed),
        applied=sum(run.status is Status.APPLIED and not run.is_lost_apply for run in confirmed),
        interrupted=sum(run.is_lost_apply for run in confirmed),
        recoveries=_recoveries(facts),
    )
    if verdict.applied < LEAST_APPLIED * verdict.confirmed or not verdict.confirmed:
        verdict.too_few.append(f"{verdict.applied} of {verdict.confirmed} confirmed runs were applied")
    return verdict


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value that this part of all does not exceed; 0 of none."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(part * len(ranked)) - 1)] if ranked else 0.0


def _doubled(facts: Facts) -> Iterator[str]:
    made = Counter((line.run, line.token, line.resource) for line in facts.ledger if line.began)
    for (run, token, resource), times in made.items():
        if times > 1:
            yield f"run {run}: resource {resource} of plan {token} was made {times} times"


def _started_twice(facts: Facts) -> Iterator[str]:
    for run, times in facts.starts.items():
        if times > 1:
            yield f"run {run}: terraform was started {times} times to apply it"


def _unconfirmed(facts: Facts) -> Iterator[str]:
    runs = {run.id: run for run in facts.runs}
    for line in facts.ledger:
        run = runs.get(line.run or 0)
        if run is None:
            yield f"resource {line.resource} of plan {line.token} was made in no run"
        elif run.token != line.token:
            yield f"run {run.id}: it is plan {run.token}, and plan {line.token} was applied"
        elif run.confirmed_at is None or run.confirmed_at > line.at + SLIP_MS:
            yield f"run {run.id}: resource {line.resource} was made before or without a confirmation"


def _forgotten(facts: Facts) -> Iterator[str]:
    runs = {run.id: run for run in facts.runs}
    for token, run_id in facts.asked.enqueued.items():
        if run_id not in runs:
            yield f"run {run_id} ({token}) was enqueued and is not there"
    for run_id in facts.asked.confirmed:
        if run_id in runs and runs[run_id].confirmed_at is None:
            yield f"run {run_id}: its confirmation was answered and is not there"


def _without_effect(facts: Facts, confirmed: list[JudgedRun]) -> Iterator[str]:
    made = defaultdict(set)
    for line in facts.ledger:
        if not line.began:
            made[line.run].add(line.resource)
    lost = [run for run in facts.runs if run.is_lost_apply]
    for run in confirmed:
        if run.status is not Status.APPLIED or run.is_lost_apply:
            continue
        # One that repeats a lost apply finds what that began in the state, and does not make it again.
        again = {one.id for one in lost if one.token == run.token and one.id < run.id}
        before = {line.resource for line in facts.ledger if line.run in again}
        if (found := len(made[run.id] | before)) != facts.resources:
            yield f"{_describe(run)}, and {found} of {facts.resources} resources were made"


def _without_reason(confirmed: list[JudgedRun]) -> Iterator[str]:
    for run in confirmed:
        if run.status not in (Status.APPLIED, Status.CANCELLED, Status.APPLY_INTERRUPTED) and (
            run.status is not Status.FAILED or not (run.error or run.is_lost_apply)
        ):
            yield f"{_describe(run)}, although it was confirmed"


def _unexplained(facts: Facts) -> Iterator[str]:
    for run in facts.runs:
        for at in run.interrupted_at:
            if not _explained(run, at, facts.journal):
                yield f"run {run.id} was interrupted {at} ms, and no fault on it after its effects explains it"


def _explained(run: JudgedRun, at: int, journal: Sequence[Entry]) -> bool:
    since = (run.effects_at or at) - SLIP_MS
    met = [
        entry
        for entry in journal
        if run.id in entry.runs
        and entry.at <= at + SLIP_MS
        and (entry.until or at) >= since
        and at - (entry.until or at) <= CONSEQUENCE_MS
    ]
    also = [entry for entry in journal if entry.kind in ABSENCES and entry.at <= at and (entry.until or at) >= since]
    if _healed(run, at) and (met or any(entry.kind is not Kind.OUTAGE for entry in also)):
        # A machine may be so busy that a lease ends before the next process adopts the apply, or before its owner, one
        # of many who waited for SQLite's only writer, gets its turn. Of a long outage that is not said.
        return True
    return any(entry.kind in LOSES_APPLIES for entry in met) or (bool(met) and len(met) + len(also) > 1)


def _healed(run: JudgedRun, at: int) -> bool:
    """Tell whether nobody was needed: its true end arrived, or the apply was found again."""
    after = next((change.cause for change in run.changes if change.at > at), None)
    return after in (Cause.ADOPTED, Cause.LATE_REPORT)


def _states(facts: Facts, confirmed: list[JudgedRun]) -> Iterator[str]:
    for run in confirmed:
        if run.status is not Status.APPLIED or run.is_lost_apply or run.run_type is RunType.DESTROY:
            continue
        wanted = dict.fromkeys(range(facts.resources), run.token)
        if run.state != wanted:
            yield f"run {run.id} was applied, and its state holds {run.state}"


def _recoveries(facts: Facts) -> dict[Kind, list[float]]:
    """Measure each fault: to the next thing that happens to each run that it met; or, if none, to any progress."""
    found: dict[Kind, list[float]] = defaultdict(list)
    runs = {run.id: run for run in facts.runs}
    progress = sorted(
        change.at
        for run in facts.runs
        for change in run.changes
        if change.cause in (Cause.DISPATCHED, Cause.CLAIMED, Cause.FINISHED)
    )
    for entry in facts.journal:
        if entry.kind is Kind.CANCEL:
            continue
        until = entry.until or entry.at
        met = [runs[run] for run in entry.runs if run in runs]
        nexts = [min((it.at for it in run.changes if it.at > entry.at), default=None) for run in met]
        after = [at for at in nexts if at is not None] or [at for at in progress if at > until][:1]
        if after:
            found[entry.kind].append(max(0.0, (max(after) - until) / 1000))
    return dict(found)


def _describe(run: JudgedRun) -> str:
    return f"run {run.id} of {run.workspace} is {run.status}" + (f" ({run.error})" if run.error else "")
