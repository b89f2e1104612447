"""Random histories of the whole protocol, on both databases. IACQ_WALK_STEPS and IACQ_WALK_SEED make longer ones."""

import os
import shutil
from pathlib import Path

import pytest

from tests.walk.walk import walking

# Read when this module is imported: the tests run in an environment without any IACQ_ variable.
STEPS = int(os.environ.get("IACQ_WALK_STEPS", "300"))
FIRST = int(os.environ.get("IACQ_WALK_SEED", "1"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + 3))
def test_whatever_happens(database_url: str, tmp_path: Path, seed: int) -> None:
    with walking(database_url, tmp_path / "walk", seed) as walk:
        walk.run(STEPS)


def test_a_seed_is_one_history(sqlite_template: Path, tmp_path: Path) -> None:
    histories = []
    for number in ("one", "two"):
        url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / f'{number}.db')}"
        with walking(url, tmp_path / number, FIRST) as walk:
            walk.run(100)
            histories.append(walk.trace)
    assert histories[0] == histories[1]
