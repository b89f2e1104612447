"""Jobs for tests of keepers: shell scripts, each in a job directory of its own."""

import json
import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path

from iacq import ports
from iacq.keeper import files
from tests.waiting import wait_until

LONG = 60.0


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def shell_job(
    root: Path,
    script: str,
    *,
    run_id: int = 1,
    slot: int = 1,
    lease: float = LONG,
    environment: Mapping[str, str] | None = None,
) -> ports.Job:
    return ports.Job(
        directory=files.job_directory(root / f"slot-{slot}" / "jobs", run_id=run_id, fence=1, step="apply"),
        run_id=run_id,
        fence=1,
        phase="apply",
        argv=("/bin/sh", "-c", script),
        cwd=root,
        environment={"PATH": os.environ["PATH"]} if environment is None else environment,
        not_after=boottime() + lease,
    )


def waits_for(file: Path, then: str = "exit 0") -> str:
    """Script that says `ready` and goes on once `file` is there."""
    return f"echo ready; while ! [ -e {shlex.quote(str(file))} ]; do sleep 0.02; done; {then}"


def out(directory: Path) -> str:
    try:
        return (directory / files.OUT).read_text()
    except FileNotFoundError:
        return ""


def until_ready(directory: Path, word: str = "ready") -> None:
    wait_until(lambda: word in out(directory), what=f"{word!r} in {directory}/out")


def launched(directory: Path) -> files.Launch:
    launch = files.read_launch(directory)
    assert launch is not None
    return launch


def keeper_of(directory: Path) -> int:
    pid = launched(directory).keeper_pid
    assert pid is not None
    return pid


def program_of(directory: Path) -> int:
    pid = launched(directory).pid
    assert pid is not None
    return pid


def as_json(job: ports.Job) -> str:
    return json.dumps(
        {
            "directory": str(job.directory),
            "run_id": job.run_id,
            "fence": job.fence,
            "phase": job.phase,
            "argv": job.argv,
            "cwd": str(job.cwd),
            "environment": dict(job.environment),
            "not_after": job.not_after,
        }
    )


def from_json(text: str) -> ports.Job:
    said = json.loads(text)
    said |= {"directory": Path(said["directory"]), "cwd": Path(said["cwd"]), "argv": tuple(said["argv"])}
    return ports.Job(**said)
