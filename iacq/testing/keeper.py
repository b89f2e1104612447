"""A keeper whose programs are a script, with the files of a real one.

What is on the disk is what the real keeper would leave (`iacq.keeper.files`), so that whoever looks for evidence finds
it: launch.json, the lock of a living program, result.json, the word.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from iacq.errors import Conflict, Unavailable
from iacq.keeper import files, lock, process, signals
from iacq.ports import KEEPER_GONE, Ended, EndUnknown, Job

_NOBODY = process.Process(pid=os.getpid(), state="R", parent=0, session=0, start_time=0)
"""A process that does not exist: ours has another start time."""


@dataclass(kw_only=True)
class Program:
    """A program that was started and lives."""

    job: Job
    descriptor: int  # holds the lock of its job
    looks: int  # how often somebody waits for it before it ends
    returncode: int


class Machine:
    """What runs in one slot. It survives the slot's process, and its keeper."""

    def __init__(self) -> None:
        self.programs: dict[Path, Program] = {}

    def end(self, directory: Path, returncode: int | None = None) -> None:
        """End a program: its result is written by whoever is its parent."""
        program = self.programs.pop(directory)
        job = program.job
        ended = files.ended_content(
            directory,
            returncode=program.returncode if returncode is None else returncode,
            wall_ms=1,
            run_id=job.run_id,
            fence=job.fence,
        )
        files.write_result(directory, ended)
        os.close(program.descriptor)

    def vanish(self, directory: Path) -> None:
        """End a program of which nobody learns anything."""
        os.close(self.programs.pop(directory).descriptor)


class ScriptedKeeper:
    """Implements `ports.Keeper`."""

    def __init__(
        self,
        machine: Machine,
        *,
        boottime: Callable[[], float],
        script: Callable[[Job], tuple[int, int]],
        before: Callable[[str], None],
    ) -> None:
        """script: does what the program does, returns (how many looks it lasts, its exit code).

        before: told the name of each operation first; it may let others act, or raise.
        """
        self.gone = False
        self._machine = machine
        self._boottime = boottime
        self._script = script
        self._before = before

    def start(self, job: Job) -> bool:
        """Start it, or give the word. Raises Unavailable if the keeper is gone, Conflict if it is busy."""
        self._before("start")
        if self.gone:
            files.give_word(job.directory, run_id=job.run_id, fence=job.fence)
            raise Unavailable("the keeper of this slot is gone", code=KEEPER_GONE)
        if self._machine.programs:
            raise Conflict("the keeper has a program already", code="busy")
        files.make_job_directory(job.directory)
        if self._boottime() >= job.not_after:
            return not files.give_word(job.directory, run_id=job.run_id, fence=job.fence)
        launched = files.create_launch(
            job.directory, program=_NOBODY, keeper=_NOBODY, run_id=job.run_id, fence=job.fence, phase=job.phase
        )
        if not launched:
            return False
        descriptor = lock.hold(job.directory)
        for name in (files.OUT, files.ERR):
            (job.directory / name).touch()
        looks, returncode = self._script(job)
        self._machine.programs[job.directory] = Program(
            job=job, descriptor=descriptor, looks=looks, returncode=returncode
        )
        self._before("started")
        return True

    def wait(self, directory: Path, timeout: float) -> Ended | None:
        """Look once. Raises EndUnknown, and Conflict if the word was given."""
        del timeout
        self._before("wait")
        program = self._machine.programs.get(directory)
        if program is not None:
            program.looks -= 1
            if program.looks >= 0:
                return None
            self._machine.end(directory)
        result = files.read_result(directory)
        if result is None:
            raise EndUnknown(directory.name)
        if result.never:
            raise Conflict(f"{directory.name} was never started")
        return Ended(
            returncode=result.returncode,
            signals=result.signals,
            ended_at=result.ended_at,
            wall_ms=result.wall_ms,
        )

    def interrupt(self, directory: Path) -> None:
        """Let the program end soon, with an error."""
        program = self._machine.programs.get(directory)
        if program is not None and signals.mark(directory, signals.Signal.INTERRUPT):
            program.looks, program.returncode = 0, 1

    def kill(self, directory: Path) -> None:
        """End it now."""
        if directory in self._machine.programs:
            signals.mark(directory, signals.Signal.KILL)
            self._machine.end(directory, -9)

    def word(self, directory: Path, *, run_id: int, fence: int) -> bool:
        """Give the word if nothing was started."""
        self._before("word")
        return files.give_word(directory, run_id=run_id, fence=fence)
