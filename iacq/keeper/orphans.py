"""Programs whose keeper died: the agent, a subreaper, is their parent now, and acts in the keeper's stead."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from iacq.keeper import files, lock, process, signals


class Orphans:
    """Watches jobs that have begun and have no result. All methods are quick and may be called often."""

    def __init__(self, slots_root: Path) -> None:
        """Watch the jobs in `<slots_root>/<slot>/jobs/`."""
        self._root = slots_root
        self._watched: dict[Path, files.Launch] = {}
        self._returncodes: dict[Path, int] = {}

    def look(self) -> None:
        """Find the jobs that began and have no result. Call it at the start, and when a keeper died."""
        for slot in self._slots():
            with contextlib.suppress(OSError):  # a disk that fails for a moment: the next look finds them
                for job in files.list_jobs(slot / "jobs"):
                    launch = files.read_launch(job.path)
                    if launch is not None and launch.pid is not None and files.read_result(job.path) is None:
                        self._watched.setdefault(job.path, launch)

    def reaped(self, ended: process.Process, returncode: int) -> None:
        """Take note of a child that no one else knows: perhaps the program of a job."""
        self.look()
        for directory, launch in self._watched.items():
            if (launch.pid, launch.start_time) == (ended.pid, ended.start_time):
                self._returncodes[directory] = returncode

    def tend(self) -> None:
        """Obey requests, end what is left of ended programs, write results."""
        for directory, launch in list(self._watched.items()):
            if launch.keeper_running:
                continue
            with contextlib.suppress(OSError):  # a full disk: the next call tries again
                if files.read_result(directory) is not None or not directory.is_dir():
                    self._drop(directory)
                elif launch.running:
                    self._obey(directory, launch)
                else:
                    self._conclude(directory, launch)

    def kill_all(self) -> None:
        """SIGKILL what is watched, or ask its keeper to: that of an earlier agent obeys, too. Raises OSError."""
        for directory, launch in self._watched.items():
            signals.request(directory, signals.Signal.KILL)
            if not launch.keeper_running:
                self._obey(directory, launch)

    @property
    def watching(self) -> bool:
        """Tell whether `tend` has something to do."""
        return bool(self._watched)

    @property
    def living(self) -> bool:
        """Tell whether some job without a keeper has no result yet."""
        return any(True for _ in self._without_keeper())

    def _without_keeper(self) -> Iterator[tuple[Path, files.Launch]]:
        for directory, launch in self._watched.items():
            if not launch.keeper_running:
                yield directory, launch

    def _slots(self) -> list[Path]:
        try:
            return sorted(self._root.iterdir())
        except FileNotFoundError:
            return []

    def _drop(self, directory: Path) -> None:
        del self._watched[directory]
        self._returncodes.pop(directory, None)

    def _obey(self, directory: Path, launch: files.Launch) -> None:
        if launch.pid is None or not launch.running:
            return
        interrupt = signals.requested(directory, signals.Signal.INTERRUPT)
        if interrupt and signals.mark(directory, signals.Signal.INTERRUPT):
            process.send_group(launch.pid, signal.SIGINT)
        if signals.requested(directory, signals.Signal.KILL):
            signals.mark(directory, signals.Signal.KILL)
            for pid in members(directory, launch.pid):
                process.send(pid, signal.SIGKILL)

    def _conclude(self, directory: Path, launch: files.Launch) -> None:
        """End what the program left behind; then write its result, if it is known."""
        # The number of a session that ended long ago may belong to somebody else by now.
        left = members(directory, launch.pid if directory in self._returncodes else None)
        for pid in left:
            process.send(pid, signal.SIGKILL)
        if left:
            return
        if directory in self._returncodes:
            content = files.ended_content(
                directory,
                returncode=self._returncodes[directory],
                wall_ms=max(0, files.now_ms() - (launch.launched_at or files.now_ms())),
                run_id=launch.run_id,
                fence=launch.fence,
            )
            files.write_result(directory, content)
        self._drop(directory)


def members(directory: Path, leader: int | None) -> set[int]:
    """Return who lives of a job: the session of `leader`, whoever holds the job's lock, and their descendants."""
    processes = process.table()
    found = {one.pid for one in processes.values() if one.session == leader}
    found |= lock.holders(directory)
    for pid in tuple(found):
        found |= {one.pid for one in process.descendants(processes, pid)}
    return {pid for pid in found if pid in processes and processes[pid].state not in "ZX"}
