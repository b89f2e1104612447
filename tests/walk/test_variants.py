"""The walk finds what it is there to find: each variant of the product lacks one rule of the protocol."""

import functools
import shutil
from pathlib import Path

import pytest

from tests.walk.cluster import Broken
from tests.walk.variants import VARIANTS, VariantDatabase
from tests.walk.walk import walking

SEEDS = 30
"""A seed is one history, so that the same one finds it each time: which one depends on every step of the protocol."""
STEPS = 300


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_found(sqlite_template: Path, tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    make = functools.partial(VariantDatabase, replaced=variant.replaced)

    def walk_until_broken() -> None:
        for seed in range(1, 2 * SEEDS, 2):  # odd: busy systems
            url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / f'{seed}.db')}"
            with walking(url, tmp_path / str(seed), seed, make, variant.favoured) as walk:
                walk.run(STEPS)

    with pytest.raises(Broken, match=r"seed \d+, after \d+ steps"):
        walk_until_broken()
