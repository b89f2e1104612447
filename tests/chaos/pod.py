"""One pod of this machine: its processes, and what terraform does there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iacq.keeper import files
from iacq.keeper.files import Launch
from tests import processes
from tests.acceptance.fleet import name_of


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod whose agent lives, or did when this was made."""

    name: str
    agent: int  # process id
    work_root: Path

    @property
    def directory(self) -> Path:
        return self.work_root / "pods" / self.name

    def family(self) -> set[int]:
        """Return every process of the pod: below its agent, below keepers of earlier agents, and their scripts."""
        roots = {self.agent, *(pid for launch in self.launches() for pid in (launch.keeper_pid, launch.pid) if pid)}
        found = [*processes.descendants(*roots), *processes.working_in(self.directory)]
        return {pid for pid in (*roots, *(process.pid for process in found)) if processes.is_alive(pid)}

    def named(self, prefix: str) -> list[int]:
        """Return the processes below the agent whose names begin like this."""
        found = [process.pid for process in processes.descendants(self.agent)]
        return sorted(pid for pid in found if name_of(pid).startswith(prefix))

    def launches(self) -> Iterator[Launch]:
        """Yield what is said of each program that runs, or whose keeper does."""
        for _, launch in self._launches():
            if not launch.never and (launch.running or launch.keeper_running):
                yield launch

    def applying(self) -> list[int]:
        """Return the slots in which a terraform applies."""
        return [slot for slot, launch in self._launches() if launch.phase == "apply" and launch.running]

    def _launches(self) -> Iterator[tuple[int, Launch]]:
        for slot in sorted(self.directory.glob("slot-*")):
            for job in files.list_jobs(slot / "jobs"):
                if (launch := files.read_launch(job.path)) is not None:
                    yield int(slot.name.removeprefix("slot-")), launch

    def running(self, slot: int | None = None) -> set[int]:
        """Return the runs whose terraform lives here, or in one slot."""
        found = [(number, launch) for number, launch in self._launches() if slot in (None, number)]
        return {launch.run_id for _, launch in found if launch.run_id is not None and launch.running}

    def known(self, slot: int | None = None) -> set[int]:
        """Return the runs that have left something here, or in one slot: those that are here, and some that were."""
        slots = [self.directory / f"slot-{slot}"] if slot is not None else self.directory.glob("slot-*")
        return {job.run_id for path in slots for job in files.list_jobs(path / "jobs")}
