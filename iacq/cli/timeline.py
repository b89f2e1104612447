"""Where the time of a run went, step by step."""

from __future__ import annotations

from collections.abc import Iterator

from iacq.cli import output, wording
from iacq.domain.run import Phase, Run, Status

_STEPS = {
    "queue_wait": "queue wait",
    "claim": "claim",
    "prepare": "prepare",
    "init": "init",
    "terraform": "terraform",
    "finish": "finish",
    "total": "total",
}


def lines(run: Run) -> Iterator[str]:
    """Lay out the timings of a run that has ended."""
    phases = [phase for phase in Phase if run.timings.get(phase)]
    yield ""
    yield f"Timeline of {wording.title(run)}:"
    if phases:
        rows = [(label, *(_cell(run, phase, step) for phase in phases)) for step, label in _STEPS.items()]
        for text in output.table(("", *(str(phase) for phase in phases)), rows):
            yield f"  {text}".rstrip()
    tier = wording.start_tier(run)
    if tier is not None:
        yield f"  {tier}"
    if run.status is Status.PLANNED_AND_FINISHED:
        yield "  nothing to change: what the configuration describes is there already"


def _cell(run: Run, phase: Phase, step: str) -> str:
    took = wording.step_ms(run, phase, step)
    return "skipped" if step == "init" and took == 0 else output.duration(took)
