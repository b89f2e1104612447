"""Two control workers and two beats at once, killed again and again while runs go through."""

import random
from collections.abc import Callable
from pathlib import Path

from iacq.domain.run import Status
from tests import invariants
from tests.acceptance import configurations
from tests.acceptance.system import System
from tests.bench.spy import NO_OP
from tests.waiting import wait_until

_WORKSPACES = 6
_EACH = 4
"""Runs of a workspace."""


def test_control_workers_and_beats_are_killed_at_any_moment(make_system: Callable[..., System], tmp_path: Path) -> None:
    """docs/failures.md 1, 17, 27: every run ends, each apply is started once, and the rows agree all the while."""
    system = make_system("postgresql", slots=4, LEASE="20s")
    chosen = random.Random(1)
    programs = [(name, number) for number in (1, 2) for name in ("control", "control", "beat")]
    for name in ("control", "beat"):
        system.start_one_of(name, number=2)
    system.spy.hook(NO_OP)
    path = configurations.write(tmp_path / "it", "")
    news = system.client.news()
    for number in range(_WORKSPACES):
        system.workspace(f"w{number}", path)
    runs = [
        system.client.enqueue(f"w{number % _WORKSPACES}", "plan_and_apply", auto_apply=True)
        for number in range(_WORKSPACES * _EACH)
    ]
    killed, seen, wrong = 0, 0, set()

    def over() -> bool:
        return system.client.unended() == 0

    def moved_by(number: int) -> bool:
        nonlocal seen
        seen += len(news.fresh())
        wrong.update(system.database.read_at_once(invariants.broken))
        return seen >= number or over()

    while not over():
        # What happens takes a living control worker: it goes on, however often one is killed.
        wanted = seen + chosen.randint(8, 40)
        wait_until(lambda wanted=wanted: moved_by(wanted), 120, "something happens")
        kind, number = chosen.choice(programs)
        system.kill(kind if number == 1 else f"{kind}-{number}")
        system.start_one_of(kind, number=number)
        killed += 1
    ended = [system.client.get(run.id) for run in runs]
    assert {run.status for run in ended} == {Status.APPLIED}, [run.error_text for run in ended]
    assert {len(system.spy.calls("apply", run=run.id)) for run in runs} == {1}
    assert not wrong
    assert not system.database.read_at_once(invariants.broken)
    assert killed >= 4
