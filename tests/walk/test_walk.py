"""Random histories of the whole protocol, on both databases; and that they find what they are there to find."""

import os
from pathlib import Path

import pytest

from tests.walk import searching
from tests.walk.mutants import MUTANTS
from tests.walk.walk import Arena

# Read when this module is imported: the tests run in an environment without any IACQ_ variable.
STEPS = int(os.environ.get("IACQ_WALK_STEPS", "1200"))
FIRST = int(os.environ.get("IACQ_WALK_SEED", "1"))
RARE = {
    "the scaler ignores reservations",
    "the outbox forgets at sending",
    "a run is warmed up without end",
    "a lost lease frees the slot of a living terraform",
    "a dead apply is tried again",
    "a lost lease forgets effects",
    "a lost lease forgets a cancel",
    "an interrupted apply is resolved without proof",
}
"""Mutants that take thousands of steps to find: `scripts/modelcheck --mutants` looks for them, too."""
MUTANT_STEPS = 20_000
"""At most: a seed is one history, so that the same one finds it each time, but which depends on the whole protocol."""


@pytest.mark.timeout(600)
def test_whatever_happens(database_url: str, tmp_path: Path) -> None:
    with Arena(database_url, tmp_path / "walk") as arena:
        searched = searching.search(arena, seed=FIRST, steps=STEPS)
    if searched.found is not None:
        pytest.fail(f"seed {searched.found.seed}, after {searched.steps} steps: {searched.found.broken}")
    assert searched.steps >= STEPS


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(MUTANTS.keys() - RARE))
def test_a_mutant_is_found(sqlite_url: str, tmp_path: Path, name: str) -> None:
    with Arena(sqlite_url, tmp_path / "walk") as arena:
        searched = searching.search(arena, seed=0, steps=MUTANT_STEPS, mutant=MUTANTS[name])
    assert searched.found is not None, f"{name}: nothing wrong in {searched.steps} steps"


def test_the_rare_ones_are_mutants() -> None:
    assert MUTANTS.keys() > RARE


def test_a_seed_is_one_history_and_can_be_replayed(sqlite_url: str, tmp_path: Path) -> None:
    histories = []
    with Arena(sqlite_url, tmp_path / "walk") as arena:
        with arena.walk(FIRST) as walk:
            walk.run(200)
            histories.append(walk.trace)
            decisions = walk.decisions
        with arena.walk(FIRST) as walk:
            walk.replay(decisions)
            histories.append(walk.trace)
    assert histories[0] == histories[1]
