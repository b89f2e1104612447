"""A pod whose disk is full: runs go elsewhere, what may go early goes, and it comes back."""

import dataclasses
from pathlib import Path

import pytest

from iacq.client import Client
from iacq.domain.run import Phase, Run, Status
from iacq.domain.slot import Closed, SlotStatus
from iacq.domain.transitions import Cause
from iacq.services import dispatching
from iacq.services.core import Core, store_artifact
from iacq.services.phases import runner
from iacq.services.phases.context import SlotWorker
from iacq.services.room import PodRoom
from iacq.store import artifacts, logs, runs, slots
from iacq.store.pods import Registration
from iacq.store.protocol import owning
from iacq.testing.git import FakeGit
from iacq.testing.keeper import Machine, ScriptedKeeper
from iacq.testing.workshop import ScriptedWorkshop
from tests import samples
from tests.store.world import AGENT, POD, World

MIB = 2**20
REGISTRATION = Registration(pod_name=POD, agent_id=AGENT, pool="default", slots=2)


class Disk:
    """A pod's disk and directories; each directory has a mebibyte, and frees it when it goes."""

    def __init__(self, core: Core, root: Path, *, size: int, floor: int = 0, cap: int | None = None) -> None:
        settings = dataclasses.replace(core.settings, disk_floor=floor, disk_cap=cap)
        self.core = dataclasses.replace(core, settings=settings)
        self.size = size
        self.links = root / "links"
        self.shops = {
            number: ScriptedWorkshop(root / f"slot-{number}", self.links, before=lambda _operation: None)
            for number in (1, 2)
        }
        self.room = PodRoom(self.core, REGISTRATION, self.shops, self.free)

    def free(self) -> int:
        return self.size - MIB * sum(len(shop.names()) for shop in self.shops.values())

    def put(self, slot_id: int, run: Run, fence: int) -> None:
        self.shops[slot_id].unpack_source(f"{run.id}-{fence}", f"{run.id}-{fence}", b"")

    @property
    def names(self) -> set[str]:
        return {name for shop in self.shops.values() for name in shop.names()}


def closed(world: World) -> list[Closed | None]:
    return [slot.closed for slot in world.do(slots.listed)]


def reserved(world: World, core: Core, disk: Disk, workspace: str, slot_id: int, *, snapshot: bool = True) -> Run:
    """A run that waits for its confirmation, prepared in a slot."""
    run = world.at(Status.APPLY_PENDING, workspace=workspace, slot_id=slot_id)
    if snapshot:
        world.do(artifacts.record, run.id, [store_artifact(core, workspace, run.id, "snapshot", b"x", version=1)])
    disk.put(slot_id, run, run.plan_fence or 0)
    world.clock.advance(1)
    return run


def failed(world: World, disk: Disk, workspace: str) -> Run:
    run = world.at(Status.PLANNING, workspace=workspace)
    fence = run.fence
    world.planned(run, status=Status.FAILED)
    disk.put(1, run, fence)
    world.clock.advance(1)
    return run


def test_below_the_floor_idle_slots_are_closed_until_there_is_room(world: World, core: Core, tmp_path: Path) -> None:
    world.pod()
    disk = Disk(core, tmp_path, size=10 * MIB, floor=9 * MIB)
    run = reserved(world, core, disk, "kept", 1, snapshot=False)
    disk.room.tend()
    assert closed(world) == [None, None]
    disk.size -= 1
    disk.room.tend()
    assert closed(world) == [None, Closed.DISK_FULL], "what is prepared needs no more room"
    assert dispatching.dispatch(core) == 0
    assert disk.room.make() == 0, "without a snapshot a reservation is not given up"
    assert world.slot(1).run_id == run.id
    disk.size += 1
    disk.room.tend()
    assert closed(world) == [None, None]


def test_a_claim_below_the_floor_gives_the_run_back_uncounted(world: World, core: Core, tmp_path: Path) -> None:
    """docs/failures.md 33: it does not fail; it is planned where there is room."""
    settings = dataclasses.replace(core.settings, disk_floor=2**60)
    full = dataclasses.replace(core, settings=settings)
    Client(core).create_workspace(samples.workspace())
    world.pod()
    run = Client(core).enqueue("network", "plan")
    seen = []
    for slot_id in (1, 2):
        assert dispatching.dispatch(core) == 1
        queued = world.run(run.id)
        _worker(full, world, tmp_path, slot_id)
        runner.answer_doorbell(_worker(full, world, tmp_path, slot_id), run.id, Phase.PLAN, queued.attempt)
        back = world.run(run.id)
        seen.append((back.status, back.tries, back.error_code))
    assert seen == [(Status.PENDING, 0, None)] * 2
    assert closed(world) == [Closed.DISK_FULL] * 2
    assert dispatching.dispatch(core) == 0, "it is not given back for ever"
    assert [event.cause for event in world.do(runs.events_of, run.id)].count(Cause.NO_ROOM) == 2
    assert "the run goes elsewhere" in "".join(chunk.text for chunk in world.do(logs.read, run.id))
    world.pod("pod2")
    assert dispatching.dispatch(core) == 1
    assert world.run(run.id).queue in ("pod2.1", "pod2.2")
    world.check()


def _worker(core: Core, world: World, root: Path, slot_id: int) -> SlotWorker:
    workshop = ScriptedWorkshop(root / f"slot-{slot_id}", root / "links", before=lambda _operation: None)
    keeper = ScriptedKeeper(
        Machine(), boottime=core.clock.boottime, script=lambda _job: (0, 0), before=lambda _operation: None
    )
    place = world.place(slot_id)
    return SlotWorker(core=core, place=place, keeper=keeper, workshop=workshop, git=FakeGit(), jobs=workshop.jobs)


def test_what_may_go_early_goes_failed_ones_first(world: World, core: Core, tmp_path: Path) -> None:
    world.pod()
    disk = Disk(core, tmp_path, size=100 * MIB, cap=2 * MIB)
    first = reserved(world, core, disk, "first", 2)
    wrecked = failed(world, disk, "wrecked")
    last = reserved(world, core, disk, "last", 1)
    assert len(disk.names) == 3
    assert disk.room.make() == 1
    assert disk.names == {f"{first.id}-{first.plan_fence}", f"{last.id}-{last.plan_fence}"}
    assert world.run(wrecked.id).status is Status.FAILED
    disk.core.settings.__dict__["disk_cap"] = 1 * MIB
    assert disk.room.make() == 1
    assert disk.names == {f"{last.id}-{last.plan_fence}"}
    assert (world.slot(2).status, world.slot(1).run_id) == (SlotStatus.IDLE, last.id)
    given_up = world.run(first.id)
    assert (given_up.status, given_up.prepared_slot_id) == (Status.APPLY_PENDING, None)
    assert disk.room.make() == 0
    world.check()


@pytest.mark.parametrize("status", [Status.PLANNING, Status.APPLYING, Status.APPLY_INTERRUPTED])
def test_what_works_is_never_given_up(world: World, core: Core, tmp_path: Path, status: Status) -> None:
    world.pod()
    disk = Disk(core, tmp_path, size=100 * MIB, floor=2**40, cap=0)
    run = world.at(status)
    world.do(artifacts.record, run.id, [store_artifact(core, "network", run.id, "snapshot", b"x", version=1)])
    disk.put(1, run, run.fence)
    before = world.rows()
    assert disk.room.make() == 0
    assert world.rows() == before


def test_a_reservation_that_is_confirmed_meanwhile_stays(world: World, core: Core, tmp_path: Path) -> None:
    world.pod()
    disk = Disk(core, tmp_path, size=100 * MIB, cap=0)
    run = reserved(world, core, disk, "first", 1)
    shop = disk.shops[1]
    looked: list[str] = []

    def confirm_first(name: str) -> int:
        if not looked:
            looked.append(name)
            Client(core).confirm(run.id, plan_hash=run.plan_hash or "", by="bob")
        return MIB

    shop.size = confirm_first  # type: ignore[method-assign]  # somebody is faster than the clean-up
    assert disk.room.make() == 0
    assert disk.names == {f"{run.id}-{run.plan_fence}"}
    world.do(owning.claim, run.id, Phase.APPLY, world.run(run.id).attempt, world.place(1), lease_ms=1000)
