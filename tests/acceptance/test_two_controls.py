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
_ROUNDS = 5
"""In each, every workspace gets a run, and then something is killed."""


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
    runs, seen, wrong = [], 0, set()

    def moved_by(number: int) -> bool:
        nonlocal seen
        seen += len(news.fresh())
        wrong.update(system.database.read_at_once(invariants.broken))
        return seen >= number

    for _ in range(_ROUNDS):
        runs += [
            system.client.enqueue(f"w{number}", "plan_and_apply", auto_apply=True) for number in range(_WORKSPACES)
        ]
        # What happens takes a living control worker: it goes on, however often one is killed.
        wanted = seen + chosen.randint(3, 4 * _WORKSPACES)
        wait_until(lambda wanted=wanted: moved_by(wanted), 120, "something happens")
        kind, number = chosen.choice(programs)
        system.kill(kind if number == 1 else f"{kind}-{number}")
        system.start_one_of(kind, number=number)
    wait_until(lambda: moved_by(0) and system.client.unended() == 0, 120, "every run has ended")
    ended = [system.client.get(run.id) for run in runs]
    assert {run.status for run in ended} == {Status.APPLIED}, [run.error_text for run in ended]
    assert {len(system.spy.calls("apply", run=run.id)) for run in runs} == {1}
    assert not wrong
    assert not system.database.read_at_once(invariants.broken)
