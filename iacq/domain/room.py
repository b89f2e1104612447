"""Room for the directories of runs in one pod: whether there is enough, and what may go before its time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Spare:
    """A directory that a run could do without."""

    slot_id: int
    name: str
    size: int  # bytes
    reserved: bool  # a waiting run is prepared in it, and would start from its snapshot instead
    since: int  # ms: when its run ended, or since when it waits


def lacking(*, free: int, used: int, floor: int, cap: int | None) -> int:
    """Return how many bytes are too few for another run to start; 0: there is room.

    free: on the disk; used: by the directories of the pod's runs; cap: of `used`, None: none.
    """
    return max(0, floor - free, 0 if cap is None else used - cap)


def choose(spares: Iterable[Spare], wanted: int) -> list[Spare]:
    """Choose what goes so that `wanted` bytes become free: of failed runs first, the oldest first."""
    chosen: list[Spare] = []
    for spare in sorted(spares, key=lambda spare: (spare.reserved, spare.since, spare.name)):
        if wanted <= 0:
            break
        if spare.size > 0:
            chosen.append(spare)
            wanted -= spare.size
    return chosen
