"""Which slot a run gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from iacq.domain import versions
from iacq.domain.slot import Slot, SlotStatus


def choose_slot(pool: str, slots: Iterable[Slot], *, needs: int = versions.RUN_NEEDS) -> Slot | None:
    """Choose a free slot of the pool, in the fullest pod, so that others become empty and can go; None: none.

    needs: the protocol that its agent must speak.
    """
    of_pool = [slot for slot in slots if slot.pool == pool]
    busy = Counter(slot.pod_name for slot in of_pool if slot.status is not SlotStatus.IDLE)
    free = (slot for slot in of_pool if slot.usable and slot.protocol >= needs)
    return min(free, key=lambda slot: (-busy[slot.pod_name], slot.pod_name, slot.slot_id), default=None)


def choose_reservation(pool: str, slots: Iterable[Slot], unconfirmed: set[int]) -> Slot | None:
    """Choose the oldest reservation of a plan that nobody confirmed yet, to be given up for work that can start."""
    reserved = (
        slot
        for slot in slots
        if slot.pool == pool
        and slot.status is SlotStatus.RESERVED
        and slot.run_id in unconfirmed
        and slot.closed is None
    )
    return min(reserved, key=lambda slot: (slot.updated_at, slot.pod_name, slot.slot_id), default=None)
