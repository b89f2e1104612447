"""Runs per second through the whole protocol: plan, automatic confirmation, apply; on two pods."""

from collections.abc import Iterator

from iacq.domain.run import Run, Status
from tests.bench.figure import Figure
from tests.bench.spy import write_no_op
from tests.bench.system import Space, System

_WORKSPACES = 60
_ROUNDS = 2
"""Runs of each workspace; they follow each other."""


def measure(space: Space) -> Iterator[Figure]:
    with space.system(pods=2, terraform=str(write_no_op(space.directory))) as system:
        names = [f"busy-{number}" for number in range(_WORKSPACES)]
        for name in names:
            system.workspace(name, {"main.tf": ""}, auto_apply=True)
        _run_all(system, names[:6])  # the first ones import modules and prepare statements
        ended = _run_all(system, names * _ROUNDS)
    began = min(run.created_at for run in ended)
    last = max(run.completed_at or 0 for run in ended)
    rate = len(ended) / (last - began) * 1000
    yield Figure(name="runs_per_second", value=rate, unit="1/s", goal=20, at_least=True)


def _run_all(system: System, names: list[str]) -> list[Run]:
    runs = [system.client.enqueue(name, "plan_and_apply") for name in names]
    return [system.wait(run, Status.APPLIED) for run in runs]
