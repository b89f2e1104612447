"""What people read of a chaos run, and the last line for programs."""

import json
import re
from collections.abc import Iterator

from tests.chaos.facts import Facts
from tests.chaos.judge import Verdict, percentile
from tests.chaos.schedule import Kind


def figures(facts: Facts, verdict: Verdict) -> str:
    """Return the last line: JSON with stable keys."""
    recoveries = [value for values in verdict.recoveries.values() for value in values]
    return json.dumps(
        {
            "minutes": facts.minutes,
            "faults": sum(entry.kind is not Kind.CANCEL for entry in facts.journal),
            "runs": len(facts.runs),
            "confirmed": verdict.confirmed,
            "applied": verdict.applied,
            "interrupted": verdict.interrupted,
            "double_applies": len(verdict.double_applies),
            "unconfirmed_applies": len(verdict.unconfirmed_applies),
            "lost": len(verdict.lost),
            "stuck": len(verdict.stuck),
            "orphans": len(verdict.orphans),
            "leaked_dirs": len(verdict.leaked_dirs),
            "recovery_p95_s": round(percentile(recoveries, 0.95), 2),
        }
    )


def journal(facts: Facts, began: int) -> Iterator[str]:
    """Tell what was done."""
    for entry in facts.journal:
        yield entry.text(began)


def recoveries(verdict: Verdict) -> Iterator[str]:
    """Tell how soon the system went on after each kind of fault."""
    for kind in Kind:
        if values := verdict.recoveries.get(kind):
            yield f"{kind:18} {len(values):3} times  p50 {percentile(values, 0.5):6.2f} s  worst {max(values):6.2f} s"


def violations(facts: Facts, verdict: Verdict, began: int) -> Iterator[str]:
    """Tell what contradicts the promise, and the history of each run that it names."""
    named: set[int] = set()
    for name, found in verdict.violations().items():
        for text in found:
            yield f"VIOLATION {name}: {text}"
            named |= {int(number) for number in re.findall(r"\brun (\d+)", text)}
    for run in facts.runs:
        if run.id in named:
            yield f"run {run.id}: effects {_at(run.effects_at, began)}, confirmed {_at(run.confirmed_at, began)}"
            yield from (f"    {_at(it.at, began)}  {it.target} ({it.cause})" for it in run.changes)
            yield from (
                f"    {_at(it.at, began)}  resource {it.resource} {'began' if it.began else 'ended'}, process {it.pid}"
                for it in facts.ledger
                if it.run == run.id
            )
            yield from (f"    {entry.text(began)}" for entry in facts.journal if run.id in entry.runs)


def _at(at: int | None, began: int) -> str:
    return "never" if at is None else f"{(at - began) / 1000:.2f} s"
