"""Choices that depend on one number only, so that a history can be replayed with some of its steps left out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """What is chosen in one step."""

    def __init__(self, number: int) -> None:
        self._number = number

    def luck(self, about: object) -> float:
        """Return a number from 0 to 1."""
        # No checksum: of those the differences are the same for all numbers.
        digest = hashlib.blake2b(f"{self._number}/{about}".encode(), digest_size=4).digest()
        return int.from_bytes(digest) / 2**32

    def chance(self, probability: float, about: object = "") -> bool:
        """Tell whether it happens."""
        return self.luck(about) < probability

    def pick(self, options: Iterable[T], about: object = "") -> T | None:
        """Choose one; None if there is none. The others may come and go without changing the choice."""
        return max(options, key=lambda option: self.luck(f"{about}{name_of(option)}"), default=None)


def name_of(option: object) -> str:
    """Name an option, the same in each replay."""
    for attribute in ("name", "id", "queue"):
        found = getattr(option, attribute, None)
        if found is not None:
            return str(found)
    return str(option)
