"""The whole system on this machine: broker, control worker, beat as programs of this process, and a host of pods."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from iacq import bootstrap
from iacq.adapters import flower_site, listening, private_directory
from iacq.adapters.broker.embedded import EmbeddedBroker
from iacq.adapters.local_pods.host import PodHost
from iacq.adapters.programs.foreground import Foreground
from iacq.adapters.programs.interrupting import signals_as_interrupt
from iacq.adapters.terraform import binary, versions
from iacq.bootstrap import pods as pod_parts
from iacq.bootstrap import schema
from iacq.domain.pool import PoolPolicy
from iacq.domain.slot import Pod, PodStatus
from iacq.domain.workspace import DEFAULT_POOL
from iacq.errors import InvalidInput, Unavailable
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


class WholeSystem:
    """What runs."""

    def __init__(self, foreground: Foreground, host: PodHost) -> None:
        self._foreground = foreground
        self._host = host

    def wait(self, timeout: float) -> None:
        """Wait for ^C (KeyboardInterrupt) or `timeout` seconds. Raises Unavailable if something is given up."""
        self._foreground.wait(timeout)
        self._host.check()

    def stop(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Stop the pods, each within its grace, then the rest. They start again with the next one.

        A further ^C or SIGTERM during it interrupts what runs, the next one kills it. meanwhile: called once the pods
        were told to stop.
        """
        self._host.stop(meanwhile)
        self._foreground.stop()


@contextlib.contextmanager
def running(
    settings: Settings, *, pods: int, flower: bool = False, say: Callable[[str], None]
) -> Iterator[WholeSystem]:
    """Start everything, and stop it in reverse order at the end: pods, beat, control worker, broker.

    pods: how many there may be; the first one is started now, the others when runs need them.

    say: gets a line for each thing that happens, from another thread. Raises Conflict if another one runs in
    this HOME, Unavailable if something does not start.
    """
    process.make_undumpable()  # it holds keys, and what terraform starts runs as the same user
    if settings.terraform is not None or not versions.listed(settings):
        binary.find(settings)
    if flower:
        flower_site.options(settings)
        listening.require_free(settings.flower_address, field="IACQ_FLOWER_ADDRESS")
    if settings.metrics_address is not None:
        listening.require_free(settings.metrics_address, field="IACQ_METRICS_ADDRESS")
    if settings.pod_runtime != "local":
        raise InvalidInput(
            f"IACQ_POD_RUNTIME is {settings.pod_runtime}, and the pods of this command run on this machine",
            field="IACQ_POD_RUNTIME",
            hint="unset it, or start the processes one by one: `iacq worker --help`",
        )
    private_directory.ensure(settings.home)
    with signals_as_interrupt(), Foreground(settings.home, say=say) as foreground:
        _start_broker(settings, foreground)
        schema.prepare(settings)
        _size_pool(settings, pods)
        core = bootstrap.client_core(settings)
        before = {pod.agent_id for pod in core.database.read(pod_rows.listed)}
        with pod_parts.host(settings, say) as host:
            _ask_for_pods(core)
            foreground.start(pod_parts.program(settings, "control", "workers.control"))
            foreground.start(pod_parts.unmeasured(pod_parts.program(settings, "beat", "workers.control", "beat")))
            if flower:
                foreground.start(pod_parts.program(settings, "flower", "workers.flower"))
            system = WholeSystem(foreground, host)
            _wait_until_ready(core, system, before, settings.home / "log")
            try:
                yield system
            finally:
                system.stop()


def _ask_for_pods(core: Core) -> None:
    """Do now what the control worker does every few seconds: the first pod starts while that one does."""
    manager = pod_parts.manager(core)
    if manager is not None:
        manager.reconcile_pods()


def _start_broker(settings: Settings, foreground: Foreground) -> None:
    if settings.broker_url is not None:
        bootstrap.client_core(settings).dispatcher.warm()
        return
    broker = EmbeddedBroker(settings)
    foreground.start(broker.program())
    broker.wait_ready()


def _size_pool(settings: Settings, pods: int) -> None:
    with contextlib.closing(Database(settings.sqlalchemy_url, pool_size=1)) as database:
        grace = int(settings.pod_idle_grace * 1000)
        database.run(pools.set_policy, DEFAULT_POOL, PoolPolicy(min_pods=1, max_pods=pods, idle_grace_ms=grace))


def _wait_until_ready(core: Core, system: WholeSystem, before: set[str | None], logs: Path) -> None:
    """Wait for a sign of life of the control worker and of a new agent."""
    for _ in range(int(_START_TIMEOUT / _LOOK)):
        found = core.database.read(pod_rows.listed)
        online = any(pod.status is PodStatus.ONLINE and pod.agent_id not in before for pod in found)
        if online and views.control_seen(core):
            return
        system.wait(_LOOK)
    raise Unavailable(
        f"{'no control worker' if online else 'no pod'} answered within {_START_TIMEOUT:g} s{_reasons(found)}",
        hint=f"look at the logs in {logs}",
        code="not_started",
    )


def _reasons(found: list[Pod]) -> str:
    return "".join(f"; {pod.name}: {pod.reason}" for pod in found if pod.reason)
