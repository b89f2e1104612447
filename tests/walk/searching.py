"""Walk after walk: until all steps are taken, or something is found."""

from __future__ import annotations

from dataclasses import dataclass

from tests.walk import shrinking
from tests.walk.mutants.mutant import Mutant
from tests.walk.product import REAL, Product
from tests.walk.walk import Arena, Broken, Decision

LONG = 800
"""Steps of one walk: it begins with an empty database, and what happened long ago costs time."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a walk came to that must not be."""

    seed: int
    steps: int  # of this walk and those before it
    broken: Broken


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a search came to."""

    steps: int
    transactions: int
    found: Found | None


def search(arena: Arena, *, seed: int, steps: int, mutant: Mutant | None = None) -> Searched:
    """Walk from this seed on. Of a mutant an error that nobody foresaw is nothing found."""
    product = mutant.product if mutant else REAL
    first, apart = mutant.seeds if mutant else (0, 1)
    seed, taken, transactions = first + seed * apart, 0, 0
    while taken < steps:
        favoured = mutant.favoured if mutant else {}
        with arena.walk(seed, product, favoured) as walk:
            broken: Broken | None = None
            try:
                walk.run(min(LONG, steps - taken))
            except Broken as error:
                broken = error
            taken += len(walk.decisions)
            transactions += walk.cluster.database.transactions
        if broken is not None and not (mutant and broken.unforeseen):
            found = Found(seed=seed, steps=taken, broken=broken)
            return Searched(steps=taken, transactions=transactions, found=found)
        seed += apart
    return Searched(steps=taken, transactions=transactions, found=None)


def shorten(arena: Arena, found: Found, *, seconds: float, product: Product = REAL) -> Broken:
    """Return a shorter history that comes to the same kind of thing."""

    def replay(decisions: list[Decision]) -> Broken | None:
        with arena.walk(found.seed, product) as walk:
            try:
                walk.replay(decisions)
            except Broken as error:
                return error
        return None

    return shrinking.shrink(found.broken, replay, seconds=seconds)
