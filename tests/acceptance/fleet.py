"""The processes of a pod, found through /proc by their names and parents."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path

from iacq.keeper import files
from tests import processes
from tests.waiting import wait_until


def name_of(pid: int) -> str:
    """Return what `ps` shows; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Fleet:
    """The processes below one agent."""

    def __init__(self, agent: int, slots_root: Path) -> None:
        self.agent = agent
        self._slots_root = slots_root

    def family(self) -> list[int]:
        """Return the agent and all that descends from it."""
        return [self.agent, *(found.pid for found in processes.descendants(self.agent))]

    def slot(self, number: int) -> int:
        return self._named(f"iacq-slot-{number}")

    def housekeeping(self) -> int:
        return self._named("iacq-housekeepi")

    def launch(self, run: int, step: str = "apply") -> files.Launch:
        """Return what launch.json says of the newest command of a run."""

        def read() -> files.Launch | None:
            found = sorted(
                self._slots_root.glob(f"slot-*/jobs/{run}-*-{step}"), key=lambda path: int(path.name.split("-")[1])
            )
            return files.read_launch(found[-1]) if found else None

        launch = wait_until(read, 15, f"launch.json of run {run}")
        assert launch is not None
        return launch

    def _named(self, name: str) -> int:
        def find() -> int | None:
            return next((pid for pid in self.family() if name_of(pid) == name), None)

        pid = wait_until(find, 15, f"a process {name}")
        assert pid is not None
        return pid


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """Signal what is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def kill(*pids: int) -> None:
    """SIGKILL, and wait until they are gone."""
    send(signal.SIGKILL, pids)
    wait_until(lambda: not any(processes.is_alive(pid) for pid in pids), 15, f"the end of {pids}")
