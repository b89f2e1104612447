"""One rule that is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.walk.product import NOTHING, Product


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A product that lacks one rule."""

    product: Product
    favoured: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    """What happens so many times as often: those things that the rule is there for."""
    seeds: tuple[int, int] = (1, 4)
    """The first one, and the distance of the next: even ones are quiet, two of each four have pods that are managed."""
