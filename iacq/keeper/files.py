"""A job's directory and its files: what is known about one program, by whoever can read the disk.

    launch.json   who was started, or the word that nobody ever will be. Created exclusively: whoever creates
                  it first decides, so two keepers can never disagree about a job
    result.json   how it ended, or the word again
    out, err      what the program prints
    alive.lock    locked by the program and those that inherit its descriptor: does anything of it live?
    interrupt, kill          requests, for a keeper that cannot be reached otherwise
    interrupted, killed      the signal that was sent, once in the life of the job

Files are complete or absent (written aside, link), those of an apply after a crash of the machine too (fsync): a plan
is simply made again. Readers still expect torn and foreign ones.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iacq.keeper import lock, process, signals

LAUNCH = "launch.json"
RESULT = "result.json"
OUT = "out"
ERR = "err"

_NAME = re.compile(r"(\d+)-(\d+)-([a-z][a-z0-9_]*)")


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What launch.json says. None: it does not say (the file is torn, foreign, or a word)."""

    never: bool  # the word: not started, and never will be
    run_id: int | None
    fence: int | None
    phase: str | None
    pid: int | None  # of the program, also its session and process group
    start_time: int | None  # of the program, as in process.Process
    boot_id: str | None  # of the machine
    launched_at: int | None  # ms since the epoch
    keeper_pid: int | None
    keeper_start_time: int | None

    @property
    def running(self) -> bool:
        """Tell whether the program itself has not ended."""
        return self._is_running(self.pid, self.start_time)

    @property
    def keeper_running(self) -> bool:
        """Tell whether the keeper that started it is still there."""
        return self._is_running(self.keeper_pid, self.keeper_start_time)

    def _is_running(self, pid: int | None, start_time: int | None) -> bool:
        if pid is None or start_time is None or self.boot_id != process.boot_id():
            return False
        return process.is_running(pid, start_time)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What result.json says."""

    never: bool  # the word: not started, and never will be; then the rest means nothing
    returncode: int  # negative: killed by that signal; 127: it could not be executed, `err` says why
    signals: tuple[str, ...]  # what was sent to it on request: SIGINT, SIGKILL
    ended_at: int  # ms since the epoch
    wall_ms: int  # from exec to the end
    run_id: int | None
    fence: int | None


@dataclass(frozen=True, kw_only=True)
class JobDirectory:
    """One directory below `<slot directory>/jobs`: see `job_directory`."""

    path: Path
    run_id: int
    fence: int
    step: str


def job_directory(jobs_root: Path, *, run_id: int, fence: int, step: str) -> Path:
    """Name the directory of one job of a slot: `<jobs>/<run>-<fence>-<step>`."""
    return jobs_root / f"{run_id}-{fence}-{step}"


def list_jobs(jobs_root: Path) -> list[JobDirectory]:
    """Return the jobs of one slot, oldest run and fence first; none if the directory is not there."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(jobs_root):
            match = _NAME.fullmatch(entry.name)
            if match and entry.is_dir(follow_symlinks=False):
                path = jobs_root / entry.name
                found.append(JobDirectory(path=path, run_id=int(match[1]), fence=int(match[2]), step=match[3]))
    return sorted(found, key=lambda job: (job.run_id, job.fence, job.step))


def make_job_directory(directory: Path) -> None:
    """Create the directory (private) and what is missing above it. Raises OSError.

    The launch.json of an apply makes it durable.
    """
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_job_directory(directory.parent)
        sync_directory(directory.parent.parent)
        make_job_directory(directory)


def forget(directory: Path) -> None:
    """Remove a job. No error if it is not there."""
    # Imported here: a keeper never forgets, and stays small.
    import shutil

    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)


def read_launch(directory: Path) -> Launch | None:
    """Return what launch.json says. None: no such file. One that cannot be read: "may have started"."""
    said = _read(directory / LAUNCH)
    if said is None:
        return None
    return Launch(
        never=said.get("never") is True,
        run_id=_number(said, "run_id"),
        fence=_number(said, "fence"),
        phase=_text(said, "phase"),
        pid=_number(said, "pid"),
        start_time=_number(said, "start_time"),
        boot_id=_text(said, "boot_id"),
        launched_at=_number(said, "launched_at"),
        keeper_pid=_number(said, "keeper_pid"),
        keeper_start_time=_number(said, "keeper_start_time"),
    )


def read_result(directory: Path) -> Result | None:
    """Return what result.json says. None: no such file, or not one that says how it ended."""
    said = _read(directory / RESULT)
    return None if said is None else parse_result(said)


def parse_result(said: Mapping[str, Any]) -> Result | None:
    """Read the content of a result.json; None if it says nothing."""
    never = said.get("outcome") == "never"
    returncode = _number(said, "returncode")
    if not never and (said.get("outcome") != "ended" or returncode is None):
        return None
    sent = said.get("signals")
    return Result(
        never=never,
        returncode=returncode or 0,
        signals=tuple(map(str, sent)) if isinstance(sent, list) else (),
        ended_at=_number(said, "ended_at") or 0,
        wall_ms=_number(said, "wall_ms") or 0,
        run_id=_number(said, "run_id"),
        fence=_number(said, "fence"),
    )


def create_launch(
    directory: Path, *, program: process.Process, keeper: process.Process, run_id: int, fence: int, phase: str
) -> bool:
    """Record who is the program, and whose child it is. False: somebody decided before.

    Raises OSError; then it may or may not be on disk.
    """
    content = {
        "run_id": run_id,
        "fence": fence,
        "phase": phase,
        "pid": program.pid,
        "start_time": program.start_time,
        "boot_id": process.boot_id(),
        "launched_at": now_ms(),
        "keeper_pid": keeper.pid,
        "keeper_start_time": keeper.start_time,
    }
    return _create_launch(directory, content, durable=is_durable(phase))


def is_durable(phase: str) -> bool:
    """Tell whether the files of such a job must survive a crash of the machine."""
    return phase != "plan"


def give_word(directory: Path, *, run_id: int, fence: int) -> bool:
    """Decide that this job is never started. False: it was, or may have been. Raises OSError.

    The word is on disk before this returns, and every keeper obeys it.
    """
    result = read_result(directory)
    if result is not None:
        return result.never
    make_job_directory(directory)
    content = {"never": True, "run_id": run_id, "fence": fence, "launched_at": now_ms()}
    if not _create_launch(directory, content, durable=True):
        launch = read_launch(directory)
        if launch is None or not launch.never:
            return False
    write_never(directory, run_id=run_id, fence=fence)
    return True


def write_never(directory: Path, *, run_id: int, fence: int) -> None:
    """Write the word as the result. Only for whoever decided it. Raises OSError."""
    write_result(directory, {"outcome": "never", "run_id": run_id, "fence": fence, "ended_at": now_ms()})


def ended_content(
    directory: Path, *, returncode: int, wall_ms: int, run_id: int | None, fence: int | None
) -> dict[str, Any]:
    """Return the content of the result.json of a program that ended just now."""
    return {
        "outcome": "ended",
        "returncode": returncode,
        "signals": signals.sent(directory),
        "ended_at": now_ms(),
        "wall_ms": wall_ms,
        "run_id": run_id,
        "fence": fence,
    }


def write_result(directory: Path, content: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write result.json. The first one stays, unless it cannot be read. Raises OSError."""
    if not _create(directory, RESULT, content, durable=durable) and read_result(directory) is None:
        (directory / RESULT).unlink(missing_ok=True)
        _create(directory, RESULT, content, durable=durable)


def is_alive(directory: Path) -> bool:
    """Tell whether anything of this job lives: its program, or whoever holds its lock."""
    launch = read_launch(directory)
    return (launch is not None and launch.running) or lock.is_held(directory)


def has_keeper(directory: Path) -> bool:
    """Tell whether the keeper that started the job is still there, be it stopped."""
    launch = read_launch(directory)
    return launch is not None and launch.keeper_running


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def _create_launch(directory: Path, content: Mapping[str, Any], *, durable: bool) -> bool:
    created = _create(directory, LAUNCH, content, durable=durable)
    if created and durable:
        sync_directory(directory.parent)  # nearly free now, and not when the directory was made
    return created


def _create(directory: Path, name: str, content: Mapping[str, Any], *, durable: bool) -> bool:
    """Write a whole file if there is none of that name."""
    aside = directory / f".{name}.{os.getpid()}.{os.urandom(4).hex()}"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            text = json.dumps(content).encode()
            if os.write(descriptor, text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory / name))
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(aside, directory / name)
    except FileExistsError:
        return False
    finally:
        os.unlink(aside)
    if durable:
        sync_directory(directory)
    return True


def sync_directory(directory: Path) -> None:
    """Make names that were created, renamed or removed in it survive a power cut. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, Any] | None:
    """Return a JSON object; {} if the file is there and is not one, None if there is none."""
    try:
        said = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _number(said: Mapping[str, Any], key: str) -> int | None:
    value = said.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(said: Mapping[str, Any], key: str) -> str | None:
    value = said.get(key)
    return value if isinstance(value, str) else None
