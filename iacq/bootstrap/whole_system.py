"""The whole system on this machine: broker, control worker, beat and pods as programs of this process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from iacq import bootstrap
from iacq.adapters import flower_site, listening, private_directory, terraform_binary, terraform_versions
from iacq.adapters.embedded_broker import EmbeddedBroker
from iacq.adapters.foreground import Foreground, Program, signals_as_interrupt
from iacq.bootstrap import schema
from iacq.domain.pool import PoolPolicy
from iacq.domain.slot import DEFAULT_SLOTS, PodStatus
from iacq.domain.workspace import DEFAULT_POOL
from iacq.errors import Unavailable
from iacq.keeper import process
from iacq.services import views
from iacq.services.core import Core
from iacq.settings import Settings
from iacq.store import pods as pod_rows
from iacq.store import pools
from iacq.store.session import Database

_START_TIMEOUT = 60.0
"""Seconds until control worker and pods must have answered."""
_LOOK = 0.1
"""Seconds between two looks while they start."""
_AFTER_GRACE = 10.0
"""Seconds more than its own grace that an agent gets before it is killed: it kills what is left by itself."""
_OF_ONE_SLOT = ("POD_NAME", "POOL_ID", "SLOT_ID")


@contextlib.contextmanager
def running(settings: Settings, *, pods: int, flower: bool = False, say: Callable[[str], None]) -> Iterator[Foreground]:
    """Start everything, and stop it in reverse order at the end: agents, beat, control worker, broker.

    say: gets a line for each thing that happens, from another thread. Raises Conflict if another one runs in
    this HOME, Unavailable if something does not start.
    """
    process.make_undumpable()  # it holds keys, and what terraform starts runs as the same user
    if settings.terraform is not None or not terraform_versions.listed(settings):
        terraform_binary.find(settings)
    if flower:
        flower_site.options(settings)
        listening.require_free(settings.flower_address, field="IACQ_FLOWER_ADDRESS")
    if settings.metrics_address is not None:
        listening.require_free(settings.metrics_address, field="IACQ_METRICS_ADDRESS")
    private_directory.ensure(settings.home)
    with signals_as_interrupt(), Foreground(settings.home, say=say) as foreground:
        _start_broker(settings, foreground)
        schema.prepare(settings)
        _size_pool(settings, pods)
        core = bootstrap.client_core(settings)
        before = {pod.agent_id for pod in core.database.read(pod_rows.listed)}
        foreground.start(_program(settings, "control", "workers.control"))
        foreground.start(_program(settings, "beat", "workers.control", "beat"))
        if flower:
            foreground.start(_program(settings, "flower", "workers.flower"))
        foreground.start(*(_agent(settings, f"local-{number}") for number in range(1, pods + 1)))
        _wait_until_ready(core, foreground, before, pods, settings.home / "log")
        yield foreground


def _start_broker(settings: Settings, foreground: Foreground) -> None:
    if settings.broker_url is not None:
        bootstrap.client_core(settings).dispatcher.warm()
        return
    broker = EmbeddedBroker(settings)
    foreground.start(broker.program())
    broker.wait_ready()


def _size_pool(settings: Settings, pods: int) -> None:
    with contextlib.closing(Database(settings.sqlalchemy_url, pool_size=1)) as database:
        database.run(pools.set_policy, DEFAULT_POOL, PoolPolicy(min_pods=1, max_pods=pods))


def _agent(settings: Settings, name: str) -> Program:
    arguments = ("--pod-name", name, "--pool", DEFAULT_POOL, "--slots", str(DEFAULT_SLOTS))
    program = _program(settings, name, "workers.agent", *arguments, grace=settings.stop_grace + _AFTER_GRACE)
    # One address can be listened on once: here it is the control worker's.
    return dataclasses.replace(program, environment={**program.environment, "IACQ_METRICS_ADDRESS": "off"})


def _program(settings: Settings, name: str, module: str, *arguments: str, grace: float = 10.0) -> Program:
    return Program(
        name=name,
        argv=(sys.executable, "-P", "-m", module, *arguments),
        environment=_environment(settings, os.environ),
        log=settings.home / "log" / f"{name}.log",
        grace=grace,
    )


def _environment(settings: Settings, ours: Mapping[str, str]) -> dict[str, str]:
    """Hand on this process's environment: the programs read their settings as this one did."""
    kept = {name: value for name, value in ours.items() if name not in _OF_ONE_SLOT}
    return {**kept, "IACQ_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}


def _wait_until_ready(core: Core, foreground: Foreground, before: set[str | None], pods: int, logs: Path) -> None:
    """Wait for a sign of life of the control worker and of every new agent."""
    for _ in range(int(_START_TIMEOUT / _LOOK)):
        online = [
            pod
            for pod in core.database.read(pod_rows.listed)
            if pod.status == PodStatus.ONLINE and pod.agent_id not in before
        ]
        if len(online) >= pods and views.control_seen(core):
            return
        foreground.wait(_LOOK)
    missing = "the control worker" if len(online) >= pods else f"{pods - len(online)} of {pods} pods"
    raise Unavailable(
        f"{missing} did not answer within {_START_TIMEOUT:g} s",
        hint=f"look at the logs in {logs}",
        code="not_started",
    )
