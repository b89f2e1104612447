"""Random histories of the whole protocol, on both databases. IACQ_WALK_STEPS and IACQ_WALK_SEED make longer ones."""

import os
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
