"""What is alive of a pod whose agent has ended: its keepers, their programs, and what those started.

All of it is found by the files of the pod's jobs. A keeper without a program ends by itself.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

from iacq.keeper import files, lock, orphans, process
from iacq.keeper.files import JobDirectory


def is_alive(slots_root: Path) -> bool:
    """Tell whether a job of the pod lives."""
    return any(files.is_alive(job.path) for job in _jobs(slots_root))


def end(slots_root: Path) -> bool:
    """SIGKILL what lives; tells whether nothing did. To be called again until it says so. Raises OSError.

    A job that has not begun is given the word that it never will: its keeper may be about to begin it.
    """
    clear = True
    for job in _jobs(slots_root):
        launch = files.read_launch(job.path)
        if launch is None:
            clear = files.give_word(job.path, run_id=job.run_id, fence=job.fence) and clear
            continue
        for pid in _living(job, launch):
            clear = False
            process.send(pid, signal.SIGKILL)
    return clear


def _living(job: JobDirectory, launch: files.Launch) -> set[int]:
    found: set[int] = set()
    if launch.running or lock.is_held(job.path):
        # The number of a session that ended long ago may belong to somebody else by now.
        found = orphans.members(job.path, launch.pid if launch.running else None)
    if launch.keeper_pid is not None and launch.keeper_running and files.read_result(job.path) is None:
        found.add(launch.keeper_pid)
    return found


def _jobs(slots_root: Path) -> Iterator[JobDirectory]:
    for slot in sorted(slots_root.glob("slot-*")):
        yield from files.list_jobs(slot / "jobs")
