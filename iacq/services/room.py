"""Keep room for runs in a pod: what may go early goes, and a pod without room gets no work."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from iacq import log
from iacq.domain import room
from iacq.domain.room import Spare
from iacq.domain.run import Run, Status
from iacq.domain.slot import Closed, SlotStatus
from iacq.messages import DISPATCH
from iacq.ports import Workshop
from iacq.services import cleaning
from iacq.services.core import Apart, Core
from iacq.store import artifacts, runs, slots
from iacq.store.pods import Registration
from iacq.store.protocol import waiting

logger = log.get(__name__)


def free_space(directory: Path) -> int:
    """Return the free bytes of the disk that a directory is on."""
    return shutil.disk_usage(directory).free


class PodRoom:
    """The room of one pod. One thread tends it while another may clean."""

    def __init__(
        self, core: Core, pod: Registration, workshops: Mapping[int, Workshop], free: Callable[[], int]
    ) -> None:
        """workshops: by slot; free: tells the free bytes of their disk."""
        self._core, self._pod, self._workshops, self._free = core, pod, workshops, free
        self._used = 0  # as it was measured last

    @property
    def lacking(self) -> int:
        """Bytes that are too few for another run; 0: there is room."""
        settings = self._core.settings
        return room.lacking(free=self._free(), used=self._used, floor=settings.disk_floor, cap=settings.disk_cap)

    def tend(self) -> None:
        """Close the idle slots while there is no room, and open them when there is."""
        name, agent_id = self._pod.pod_name, self._pod.agent_id
        if lacking := self.lacking:
            if self._core.database.run(slots.close_idle, name, agent_id, Closed.DISK_FULL):
                text = "%d MiB of room are lacking: no run starts in this pod"
                logger.warning(text, -(-lacking // 2**20), extra=log.ids(pod=name))
        elif self._core.database.run(slots.open_closed, name, agent_id, Closed.DISK_FULL):
            logger.info("there is room again", extra=log.ids(pod=name))
            self._core.ring_control(DISPATCH)

    def make(self) -> int:
        """Measure, and give up early what may go if there is no room; returns how many directories went."""
        self._measure()
        chosen = room.choose(self._spares(), self.lacking) if self.lacking else []
        given_up = sum(self._give_up(spare) for spare in chosen)
        if given_up:
            self._measure()
        return given_up

    def _measure(self) -> None:
        if self._core.settings.disk_cap is not None:
            self._used = sum(shop.size(name) for shop in self._workshops.values() for name in shop.names())

    def _spares(self) -> Iterator[Spare]:
        for slot_id, workshop in self._workshops.items():
            for name in workshop.names():
                found = cleaning.parse_name(name)
                with Apart(directory=name):
                    run = self._core.database.read(runs.get, found[0]) if found else None
                    since = self._spare_since(run, slot_id, found[1]) if run is not None and found else None
                    if run is not None and since is not None:
                        reserved = run.status is not Status.FAILED
                        size = workshop.size(name)
                        yield Spare(slot_id=slot_id, name=name, size=size, reserved=reserved, since=since)

    def _spare_since(self, run: Run, slot_id: int, fence: int) -> int | None:
        """Tell since when this directory could go before its time; None: it could not."""
        if run.status is Status.FAILED:
            return run.completed_at or 0
        slot = self._core.database.read(slots.held_by, run.id)
        if slot is None or (slot.pod_name, slot.slot_id) != (self._pod.pod_name, slot_id):
            return None
        if slot.status is not SlotStatus.RESERVED or fence != run.plan_fence:
            return None
        return slot.updated_at if self._core.database.read(artifacts.find, run.id, "snapshot") else None

    def _give_up(self, spare: Spare) -> bool:
        """Remove a directory; of a waiting run only if its reservation can be given up now."""
        run_id, _ = cleaning.parse_name(spare.name) or (0, 0)
        with Apart(run=run_id):
            if spare.reserved and not self._give_up_reservation(run_id):
                return False
            self._workshops[spare.slot_id].remove(spare.name)
            logger.warning("its directory was given up to make room", extra=log.ids(run=run_id))
            return True
        return False

    def _give_up_reservation(self, run_id: int) -> bool:
        run = self._core.database.read(runs.get, run_id)
        slot = self._core.database.read(slots.held_by, run_id)
        if run is None or slot is None:
            return False
        return self._core.database.attempt(waiting.give_up_reservation, run, slot) is not None
