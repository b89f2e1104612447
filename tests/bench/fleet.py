"""What a control plane and its database cost while a thousand pods say that they are there."""

import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

from iacq.domain import agent_health
from iacq.domain.agent_health import Health
from iacq.domain.run import RunType
from iacq.services import dispatching, recovering, scaling, tallying
from iacq.services.core import Core
from iacq.services.dispatching import Remembered
from iacq.services.recovering import LeaseWatch
from iacq.store import control, pods
from iacq.testing.core import make_core
from tests import processes
from tests.bench import fleets
from tests.bench.figure import Figure
from tests.bench.idle import cpu_seconds
from tests.bench.system import Space

_PODS = 1000
_WAITING = 10_000
_SECONDS = 30.0
_HEARTBEAT = 5.0


def measure(space: Space) -> Iterator[Figure]:
    database = fleets.prepare(space, "fleet")
    with database.transaction() as tx:
        fleets.add_pods(tx, _PODS, closed="not_answering")  # nothing is dispatched: there is nobody to run it
        fleets.add_waiting(tx, _WAITING, workspaces=500, run_type=RunType.PLAN_AND_APPLY)
    core = make_core(database.url, space.directory)
    argv = [sys.executable, "-m", "tests.bench.heartbeats", database.url, str(_PODS), str(_HEARTBEAT)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as heartbeats:
        try:
            yield from _measure(core, heartbeats.pid)
        finally:
            heartbeats.communicate()
    core.database.close()
    database.close()


def _measure(core: Core, heartbeats: int) -> Iterator[Figure]:
    _work(core, _HEARTBEAT)  # connections, statements, every pod once
    server = [one.pid for one in processes.descendants(os.getpid()) if one.pid != heartbeats]
    before, own, began = cpu_seconds(server), time.process_time(), time.monotonic()
    _work(core, _SECONDS)
    took = time.monotonic() - began
    control_share, database_share = (time.process_time() - own) / took, (cpu_seconds(server) - before) / took
    now, patience = core.clock.now_ms(), dataclasses.replace(core.patience, heartbeat=10_000)
    health = [agent_health.judge(pod, now=now, patience=patience) for pod in core.database.read(pods.listed)]
    silent = health.count(Health.SILENT)
    yield Figure(name="fleet_1000_pods", value=control_share + database_share, unit="cores", goal=1)
    yield Figure(name="fleet_1000_pods_control", value=control_share, unit="cores", goal=None)
    yield Figure(name="fleet_1000_pods_database", value=database_share, unit="cores", goal=None)
    yield Figure(name="fleet_1000_pods_silent", value=silent, unit="pods", goal=0)


def _work(core: Core, seconds: float) -> None:
    """Do what beat rings for, as often."""
    remembered, watch = Remembered(), LeaseWatch()
    jobs: list[tuple[float, Callable[[], object]]] = [
        (2, lambda: core.database.run(control.beat)),
        (2, lambda: dispatching.dispatch(core, remembered)),
        (2, lambda: dispatching.resend(core)),
        (2, lambda: recovering.recover(core, watch)),
        (5, lambda: recovering.check_agents(core)),
        (5, lambda: tallying.tally(core)),
        (5, lambda: scaling.decide(core, fleets.POOL)),
    ]
    began = time.monotonic()
    due = [0.0] * len(jobs)
    while (now := time.monotonic() - began) < seconds:
        for number, (every, job) in enumerate(jobs):
            if now >= due[number]:
                due[number] = now + every
                job()
        threading.Event().wait(max(0.0, min(due) - (time.monotonic() - began)))
