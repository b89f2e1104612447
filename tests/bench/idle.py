"""What a pod of three slots costs while nothing runs."""

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from iacq.domain.run import Status
from tests import processes
from tests.bench.figure import Figure
from tests.bench.system import SLOTS, Space

_SECONDS = 20.0


def measure(space: Space) -> Iterator[Figure]:
    with space.system() as system:
        system.workspace("once", {"main.tf": ""})
        for run in [system.client.enqueue("once", "plan") for _ in range(2 * SLOTS)]:  # as a used pod
            system.wait(run, Status.SUCCESS)
        pod = _pod(system.up)
        before = cpu_seconds(pod)
        threading.Event().wait(_SECONDS)
        percent = (cpu_seconds(pod) - before) / _SECONDS * 100
        memory = sum(_pss_kb(pid) for pid in pod) / 1000
    yield Figure(name="idle_pod_memory", value=memory, unit="MB PSS", goal=220)
    yield Figure(name="idle_pod_cpu", value=percent, unit="% of a core", goal=1)


def _pod(up: int) -> list[int]:
    """Return the processes of the pod: the agent, its keepers, slots and housekeeping."""
    agent = next(one for one in processes.descendants(up) if "workers.agent" in one.command and one.parent == up)
    return [agent.pid, *(one.pid for one in processes.descendants(agent.pid))]


def cpu_seconds(pids: list[int]) -> float:
    """Return what these processes have used, in seconds of a processor."""
    ticks = 0
    for pid in pids:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])  # user and system, without children
    return ticks / os.sysconf("SC_CLK_TCK")


def _pss_kb(pid: int) -> int:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/{pid}/smaps_rollup names no Pss")
    return int(found[1])
