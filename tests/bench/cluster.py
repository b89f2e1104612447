"""Pods in a cluster, against the suite's own API server: what the way to them costs. Nobody runs its pods."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator

from iacq.adapters.kubernetes.pods import KubernetesPodRuntime
from iacq.domain.pool import PoolPolicy
from iacq.services import scaling
from iacq.services.pod_manager import PodManager
from iacq.settings import Settings
from iacq.store import pods, pools
from iacq.store.pods import Registration
from iacq.testing.core import make_core
from tests.bench import fleets
from tests.bench.figure import Figure
from tests.bench.system import Space
from tests.kubernetes.cluster import Cluster
from tests.waiting import wait_until

_PODS = 1000
_ROUNDS = 5
_IDLE = 30.0


def measure(space: Space) -> Iterator[Figure]:
    with contextlib.ExitStack() as stack:
        cluster = Cluster(space.directory / "node", {})
        stack.enter_context(cluster.api)  # without a kubelet: it would take most of the time
        settings = Settings(kubeconfig=cluster.write_kubeconfig(space.directory / "kubeconfig"), pod_image="agent")
        runtime = stack.enter_context(contextlib.closing(KubernetesPodRuntime(settings)))
        database = stack.enter_context(contextlib.closing(fleets.prepare(space, "cluster")))
        core = make_core(database.url, space.directory)
        core = dataclasses.replace(core, settings=dataclasses.replace(core.settings, pod_start_timeout=3600))
        stack.callback(core.database.close)
        manager = PodManager(core, runtime, scale=lambda manager, pool: scaling.scale(core, manager, pool))
        yield from _measure(cluster, manager, runtime)


def _measure(cluster: Cluster, manager: PodManager, runtime: KubernetesPodRuntime) -> Iterator[Figure]:
    database = manager.core.database
    database.run(pools.set_policy, fleets.POOL, PoolPolicy(min_pods=_PODS, max_pods=_PODS, slots_per_pod=1))
    began = time.monotonic()
    manager.reconcile_pods()
    took = time.monotonic() - began
    assert len(cluster.pods()) == _PODS
    yield Figure(name="cluster_pods_created", value=_PODS / took, unit="pods/s", goal=None)
    wait_until(lambda: len(runtime.present()) == _PODS, timeout=60, what="the watch knows all of them")
    for pod in database.read(pods.listed):
        boot = Registration(pod_name=pod.name, agent_id=pod.name, pool=pod.pool, slots=pod.slots, managed=True)
        database.run(pods.register, boot)
    manager.reconcile_pods()  # it says that none of them is in use
    calls = len(cluster.api.asked)
    began = time.monotonic()
    for _ in range(_ROUNDS):
        manager.reconcile_pods()
    yield Figure(
        name="cluster_reconcile_1000_pods", value=(time.monotonic() - began) / _ROUNDS * 1000, unit="ms", goal=None
    )
    yield Figure(
        name="cluster_calls_of_a_reconcile", value=(len(cluster.api.asked) - calls) / _ROUNDS, unit="calls", goal=0
    )
    yield from _replace(cluster, manager)
    calls, began = len(cluster.api.asked), time.monotonic()
    wait_until(lambda: time.monotonic() - began >= _IDLE, timeout=_IDLE + 5)
    manager.reconcile_pods()
    minutes = (time.monotonic() - began) / 60
    yield Figure(
        name="cluster_calls_when_idle", value=(len(cluster.api.asked) - calls) / minutes, unit="calls/min", goal=5
    )


def _replace(cluster: Cluster, manager: PodManager) -> Iterator[Figure]:
    """Let a pod vanish; the database hears of it, and asks for another one."""
    known = {pod.name for pod in manager.core.database.read(pods.listed)}
    gone = min(known)
    began = time.monotonic()
    cluster.delete(gone)

    def replaced() -> bool:
        manager.reconcile_pods()
        return bool({pod["metadata"]["name"] for pod in cluster.pods()} - known)

    wait_until(replaced, timeout=60, what="there is another pod")
    yield Figure(name="cluster_pod_replaced", value=time.monotonic() - began, unit="s", goal=None)
