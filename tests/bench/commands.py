"""How long a command of the command line takes, from its start to its end."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.bench.figure import Figure
from tests.bench.system import Space, System

_TIMES = 7


def measure(space: Space) -> Iterator[Figure]:
    with space.system() as system:
        system.workspace("one", {"main.tf": ""})
        helped = [_seconds(system, "--help") for _ in range(_TIMES)]
        listed = [_seconds(system, "runs") for _ in range(_TIMES)]
        confirmed = [_seconds(system, "confirm", str(system.planned("one").id), "--yes") for _ in range(_TIMES)]
    yield Figure(name="command_help", value=statistics.median(helped), unit="s", goal=0.2)
    yield Figure(name="command_runs", value=statistics.median(listed), unit="s", goal=0.8)
    yield Figure(name="command_confirm", value=statistics.median(confirmed), unit="s", goal=0.8)


def _seconds(system: System, *arguments: str) -> float:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "iacq.cli", *arguments],
        cwd=system.home,
        env=system.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.monotonic() - began
