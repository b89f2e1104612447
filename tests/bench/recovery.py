"""How soon what was lost goes on: a plan whose pod died, a doorbell, a system without a control worker."""

import contextlib
import os
import signal
from collections.abc import Iterator
from time import monotonic

import redis

from iacq.domain.run import Run, Status
from tests.acceptance import configurations, fleet
from tests.acceptance.system import POD, System
from tests.bench.figure import Figure
from tests.bench.system import Space
from tests.conftest import migrate
from tests.waiting import wait_until

_AS_SHIPPED = {
    "LEASE": "45s",
    "RENEW": "15s",
    "LEASE_CONFIRM": "20s",
    "HEARTBEAT": "5s",
    "AGENT_OFFLINE": "30s",
    "CLAIM_TIMEOUT": "60s",
}
_OTHER = "local-2"
_RESTARTS = 5


def measure(space: Space) -> Iterator[Figure]:
    home = space.directory / "recovery"
    url = space.postgres or f"sqlite:///{space.directory / 'recovery.db'}"
    migrate(url)
    with System(home, url, slots=1, **_AS_SHIPPED) as system:
        system.workspace("net", configurations.write(home / "net", configurations.COUNTED))
        restarts = [_restart_control(system) for _ in range(_RESTARTS)]
        yield Figure(name="control_restarted_to_dispatched_worst", value=max(restarts), unit="s", goal=5)
        yield Figure(name="lost_doorbell_to_claim", value=_lose_doorbell(system), unit="s", goal=20)
        yield Figure(name="dead_plan_to_next_claim", value=_lose_pod(system), unit="s", goal=75)


def _restart_control(system: System) -> float:
    """From the start of a control worker's process to the dispatch of a run that waited."""
    system.kill("control")
    run = system.client.enqueue("net", "plan")
    began = monotonic()
    system.start_control()
    wait_until(lambda: system.client.get(run.id).status is not Status.PENDING, 60, "it is dispatched")
    took = monotonic() - began
    system.wait(run)
    return took


def _lose_doorbell(system: System) -> float:
    """From the loss of a message, in the broker or with the process that it was given to, to the claim."""
    slot = system.fleet().slot(1)
    os.kill(slot, signal.SIGSTOP)
    run = system.client.enqueue("net", "plan")
    wait_until(lambda: system.client.get(run.id).status is Status.PLAN_QUEUED, 30, "it is dispatched")
    with redis.Redis(unix_socket_path=str(system.broker.socket)) as broker:
        with contextlib.suppress(AssertionError):  # the broker has given it to the process already
            wait_until(lambda: broker.llen(f"{POD}.1"), 0.25, "the message is there")
        broker.delete(f"{POD}.1")
    began = monotonic()
    os.kill(slot, signal.SIGKILL)
    wait_until(lambda: system.client.get(run.id).status is not Status.PLAN_QUEUED, 120, "it is claimed")
    took = monotonic() - began
    system.wait(run)
    return took


def _lose_pod(system: System) -> float:
    """From the death of all processes of a pod that plans, to the next claim of the plan in another pod."""
    system.spy.hook('if [ "$1" = plan ]; then sleep 600; fi')
    run = system.client.enqueue("net", "plan")
    wait_until(lambda: _is_planning(system, run, POD), 60, "it plans")
    system.start_agent(_OTHER)
    wait_until(
        lambda: any(slot.pod_name == _OTHER and slot.usable for slot in system.client.slots()),
        60,
        "another pod is there",
    )
    system.spy.restore()
    began = monotonic()
    fleet.send(signal.SIGKILL, system.family(POD))
    system.programs.pop(POD).wait(20)
    wait_until(lambda: _is_planning(system, run, _OTHER), 150, "it plans elsewhere")
    took = monotonic() - began
    system.wait(run)
    return took


def _is_planning(system: System, run: Run, pod_name: str) -> bool:
    found = system.client.get(run.id)
    return found.status is Status.PLANNING and found.pod_name == pod_name
