"""A source of 100 MB that does not compress: how long its enqueue takes, and the memory of client and slot."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from iacq.domain.run import Status
from tests import processes
from tests.bench.figure import Figure
from tests.bench.system import Space, System

_SIZE = 100 * 10**6
_FILES = 100
_CLIENT = """
import json, resource, time
from iacq.client import Client
client = Client.from_env()
client.warm()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.monotonic()
run = client.enqueue("large", "plan_and_apply")
took = time.monotonic() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"run": run.id, "seconds": took, "peak_kb": peak}))
"""


def measure(space: Space) -> Iterator[Figure]:
    with space.system(max_source="128MiB") as system:
        system.workspace("large", {"main.tf": ""})
        source = system.home / "sources" / "large"
        for number in range(_FILES):
            (source / f"blob-{number}").write_bytes(os.urandom(_SIZE // _FILES))
        slots = _slots(system.up)
        before = {pid: _memory_kb(pid, "VmRSS") for pid in slots}
        client = _enqueue(system)
        run = system.wait(system.client.get(client["run"]), Status.APPLY_PENDING)
        peak = max(_memory_kb(pid, "VmHWM") - before[pid] for pid in slots)
    database = "postgresql" if space.postgres else "sqlite"
    for name, value, unit in (
        ("enqueue", client["seconds"], "s"),
        ("client_memory", client["peak_kb"] / 1000, "MB"),
        ("prepare", run.timings["plan"]["prepare"] / 1000, "s"),
        ("finish", run.timings["plan"]["finish"] / 1000, "s"),
        ("slot_memory", peak / 1000, "MB"),
    ):
        yield Figure(name=f"source_{name}_{database}", value=value, unit=unit, goal=None)


def _enqueue(system: System) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _CLIENT],
        cwd=system.home,
        env=system.environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _slots(up: int) -> list[int]:
    names = ((one.pid, Path(f"/proc/{one.pid}/comm").read_text().strip()) for one in processes.descendants(up))
    return [pid for pid, name in names if re.fullmatch(r"iacq-slot-\d+", name)]


def _memory_kb(pid: int, what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/{pid}/status names no {what}")
    return int(found[1])
