"""What the system runs on: pods with slots, their terraforms, and a runtime that makes pods and lets them go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from iacq.keeper.files import read_result
from iacq.ports import Job, PodSpec, PresentPod
from iacq.services.phases.context import SlotWorker
from iacq.services.recovering import LeaseWatch
from iacq.store.pods import Registration
from iacq.testing.keeper import Machine, ScriptedKeeper
from iacq.testing.pod_runtime import FakePodRuntime
from tests.walk.actors import Stage, StageLock

SLOTS = 2


@dataclass(eq=False)
class SlotProcess:
    """One boot of a slot's process."""

    worker: SlotWorker
    keeper: ScriptedKeeper
    lock: StageLock
    settled: bool = False  # its first look at what a predecessor left was done
    owes: bool = False  # a look that has to be repeated: something of a predecessor was not settled yet

    @property
    def name(self) -> str:
        """Pod, slot and boot."""
        return self.worker.place.owner

    @property
    def busy(self) -> bool:
        return self.lock.locked()


class WatchedMachine(Machine):
    """Remembers how each apply ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[tuple[int, int], int] = {}  # run, fence: exit code

    def end(self, directory: Path, returncode: int | None = None) -> None:
        """See Machine."""
        job = self.programs[directory].job
        super().end(directory, returncode)
        result = read_result(directory)
        if is_apply(job) and result is not None:
            self.ends[job.run_id, job.fence] = result.returncode


def is_apply(job: Job) -> bool:
    """Tell whether it is a terraform that changes something."""
    return job.directory.name.endswith("-apply")


@dataclass
class Seat:
    """A slot of a pod on its machine: what outlives the slot's processes."""

    root: Path
    machine: WatchedMachine = field(default_factory=WatchedMachine)
    process: SlotProcess | None = None
    keeper: ScriptedKeeper | None = None
    boots: int = 0

    @property
    def name(self) -> str:
        """Pod and slot: the same in each replay, wherever the directory is."""
        return f"{self.root.parent.name}/{self.root.name}"


@dataclass(eq=False)
class PodOnMachine:
    """A pod's name and place; `registration` is its present boot, None: it is down."""

    name: str
    seats: dict[int, Seat]
    managed: bool = False
    boots: int = 0
    registration: Registration | None = None
    stopping: bool = False
    silent: bool = False  # its heartbeat does not get through

    def applies(self) -> Iterator[tuple[int, Job]]:
        """Give the applies that are alive here, with their slots."""
        for slot_id, seat in self.seats.items():
            for program in seat.machine.programs.values():
                if is_apply(program.job):
                    yield slot_id, program.job

    def processes(self) -> Iterator[SlotProcess]:
        """Give the processes of its slots."""
        return (seat.process for seat in self.seats.values() if seat.process is not None)


def make_pod(name: str, root: Path, *, managed: bool = False) -> PodOnMachine:
    """Make a machine on which nothing runs."""
    seats = {number: Seat(root=root / name / f"slot-{number}") for number in range(1, SLOTS + 1)}
    return PodOnMachine(name=name, seats=seats, managed=managed)


@dataclass(eq=False)
class ControlProcess:
    """One control worker: what it remembers between two jobs."""

    name: str
    watch: LeaseWatch
    boots: int = 1


class WatchedRuntime(FakePodRuntime):
    """Pods that are made and deleted; its callers pause before each call."""

    def __init__(self, stage: Stage, deleted: Callable[[str], None]) -> None:
        """deleted: told the name of each pod that is to go."""
        super().__init__()
        self._stage = stage
        self._deleted = deleted

    def create(self, spec: PodSpec) -> None:
        """See FakePodRuntime."""
        self._stage.pause(f"creates pod {spec.name}")
        super().create(spec)

    def delete(self, name: str, *, uid: str | None = None) -> None:
        """See FakePodRuntime."""
        self._stage.pause(f"deletes pod {name}")
        if name in self.pods:
            self._deleted(name)
        super().delete(name, uid=uid)

    def mark(self, name: str, *, uid: str, in_use: bool) -> None:
        """See FakePodRuntime."""
        self._stage.pause(f"marks pod {name}")
        super().mark(name, uid=uid, in_use=in_use)

    def present(self, expected: Collection[str] = ()) -> list[PresentPod]:
        """See FakePodRuntime."""
        self._stage.pause("lists pods")
        return super().present(expected)
