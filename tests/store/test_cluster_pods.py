"""The manager of pods on a cluster that does what clusters do; its pods are made of paper and run nowhere."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iacq.adapters.kubernetes.api import KubernetesApi
from iacq.adapters.kubernetes.pods import KubernetesPodRuntime
from iacq.domain.run import Run
from iacq.domain.slot import PodStatus
from iacq.errors import Unavailable
from iacq.ports import PodRuntime
from iacq.services import freeze_changes, freezing, scaling, views
from iacq.services.core import Core
from iacq.services.pod_manager import PodManager
from iacq.settings import Settings
from iacq.store import control, pools
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.containers import PAPER
from tests.store.fleet import FleetWorld
from tests.store.world import World, at_once
from tests.waiting import wait_until

IMAGE = "agent"

pytestmark = pytest.mark.parametrize("world", ["postgresql"], indirect=True)  # what a cluster has beside it


class ClusterFleet(FleetWorld):
    """A world whose pods are in a cluster, as many as the scaler wants."""

    def __init__(self, world: World, core: Core, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        kubeconfig = cluster.write_kubeconfig(directory / "kubeconfig")
        self._settings = Settings(home=directory, kubeconfig=kubeconfig, pod_image=IMAGE)
        self.runtimes: list[KubernetesPodRuntime] = []
        super().__init__(world, core)
        self.manager = self.another_control_worker()

    def make_runtime(self) -> PodRuntime:
        self.runtimes.append(KubernetesPodRuntime(self._settings, KubernetesApi(self._settings, patience=0.2)))
        return self.runtimes[-1]

    def another_control_worker(self) -> PodManager:
        """Return a manager with a watch of its own."""
        scale = lambda manager, pool: scaling.scale(self.core, manager, pool)
        return PodManager(self.core, self.make_runtime(), scale=scale)

    def why_waiting(self, run: Run) -> str:
        """Return what people are told, while a control worker is there."""
        self.world.do(control.beat)
        found = views.waiting_of(self.core, self.world.run(run.id))
        return found.text if found else ""

    def made(self) -> int:
        """Count the pods that were ever made in the cluster."""
        return sum(one.verb == "create" and one.code == 201 for one in self.cluster.api.asked)

    def running(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.cluster.pods() if pod["status"]["phase"] == "Running"]

    def settle(self, condition: Callable[[], object], what: str) -> None:
        """Reconcile until this is so."""

        def look() -> object:
            self.manager.reconcile_pods()
            return condition()

        wait_until(look, 60, what)


@pytest.fixture
def fleet(world: World, core: Core, tmp_path: Path) -> Iterator[ClusterFleet]:
    with Cluster(tmp_path / "node", {IMAGE: PAPER}) as cluster:
        cluster.secrets["iacq"] = dict.fromkeys(("IACQ_DATABASE_URL", "IACQ_BROKER_URL", "IACQ_ENCRYPTION_KEYS"), "x")
        made = ClusterFleet(world, core, cluster, tmp_path)
        yield made
        for runtime in made.runtimes:
            runtime.close()


def test_two_control_workers_make_each_pod_once(fleet: ClusterFleet) -> None:
    """docs/failures.md 18, 19, 24: from nothing, for what could start; the API answers slowly and loses an answer."""
    fleet.pool(max_pods=9, slots_per_pod=2)
    for number in range(5):
        fleet.world.enqueue(f"w{number}")
        fleet.world.enqueue(f"w{number}")  # waits behind the first one: no reason for a pod
    other = fleet.another_control_worker()
    fleet.cluster.fail(verb="create", delay=0.2)
    fleet.cluster.fail(verb="create", loses_answer=True)
    for _ in range(3):
        at_once(fleet.manager.reconcile_pods, other.reconcile_pods)
    fleet.settle(lambda: len(fleet.running()) == 3, "three pods run")
    assert fleet.running() == sorted(fleet.names())
    assert len({pod["metadata"]["uid"] for pod in fleet.cluster.pods()}) == 3
    at_once(*[manager.reconcile_pods for manager in (fleet.manager, other)] * 2)
    assert len(fleet.cluster.pods()) == len(fleet.names()) == 3


def test_an_api_that_is_away_delays_pods_and_costs_none(fleet: ClusterFleet) -> None:
    """docs/failures.md 18: nobody is thought to be gone meanwhile, and what was asked for comes."""
    fleet.pool(max_pods=4, slots_per_pod=1, idle_grace_ms=600_000)
    fleet.world.enqueue("first")
    fleet.settle(fleet.running, "a pod runs")
    [first] = fleet.running()
    fleet.register(first)
    fleet.world.enqueue("second")
    fleet.world.enqueue("third")
    with fleet.cluster.api.away():
        for _ in range(2):
            fleet.manager.reconcile_pods()
        with pytest.raises(Unavailable):
            fleet.create(max_pods=4, slots_per_pod=1)
        fleet.manager.reconcile_pods()
        assert fleet.pod(first).status is PodStatus.ONLINE
        asked = fleet.names()
    fleet.cluster.storage.compact()  # the watch must begin anew
    fleet.settle(lambda: len(fleet.running()) == 3, "all of them run")
    assert set(asked) <= set(fleet.running()), "what was asked for while it was away has come"


def test_a_pod_that_cannot_start_says_why_and_is_tried_again_with_patience(fleet: ClusterFleet) -> None:
    """docs/failures.md 23, 24: the run that waits names the reason; back-off belongs to the pool, and it ends."""
    del fleet.cluster.images[IMAGE]
    fleet.pool(max_pods=3, slots_per_pod=1)
    runs = [fleet.world.enqueue(f"w{number}") for number in range(2)]
    fleet.settle(lambda: "ImagePull" in str([fleet.pod(name).reason for name in fleet.names()]), "the reason is known")
    assert "ImagePull" in fleet.why_waiting(runs[0])
    fleet.world.clock.advance(fleet.core.settings.pod_start_timeout + 1)
    fleet.settle(lambda: not fleet.cluster.pods(), "they are given up")
    failed = fleet.world.database.read(pools.get, "default").failures
    assert failed.count > 0
    made = fleet.made()
    for _ in range(3):
        fleet.manager.reconcile_pods()
    assert fleet.made() == made, "not at once again"
    fleet.cluster.images[IMAGE] = PAPER
    fleet.world.clock.advance(301)
    fleet.settle(fleet.running, "it is tried again")
    assert len(fleet.cluster.pods()) == 1, "one at a time"
    fleet.register(fleet.running()[0])
    fleet.settle(lambda: len(fleet.running()) == 2, "the other one follows")
    assert all(fleet.world.run(run.id).tries == 0 for run in runs)


def test_a_cluster_without_room_is_the_reason_that_is_shown(fleet: ClusterFleet) -> None:
    """docs/failures.md 25: a pod that nobody needs any more goes at once, though it never ran."""
    fleet.cluster.kubelet.nodes["node-1"].room = 0
    fleet.pool(max_pods=1, slots_per_pod=1, idle_grace_ms=0)
    run = fleet.world.enqueue()
    fleet.settle(lambda: "Insufficient memory" in str([fleet.pod(one).reason for one in fleet.names()]), "it is said")
    assert "Insufficient memory" in fleet.why_waiting(run)
    fleet.cluster.kubelet.add_node("node-2")
    fleet.settle(fleet.running, "it runs on the new node")


def test_an_evicted_pod_is_replaced_and_says_so(fleet: ClusterFleet) -> None:
    """docs/failures.md 24: what failed is removed from the cluster, and nothing is thought to be alive in it."""
    fleet.pool(max_pods=1, slots_per_pod=1, min_pods=1)
    fleet.settle(fleet.running, "it runs")
    [name] = fleet.running()
    fleet.register(name)
    fleet.cluster.kubelet.evict(name)
    fleet.settle(lambda: fleet.cluster.pod(name) is None, "it is removed")
    assert "evicted" in (fleet.world.database.read(pools.get, "default").failed_reason or "")
    fleet.world.clock.advance(301)
    fleet.settle(lambda: fleet.running() not in ([], [name]), "another one runs")


def test_in_a_freeze_the_minimum_makes_no_pods(fleet: ClusterFleet) -> None:
    """docs/failures.md 35."""
    fleet.pool(max_pods=3, slots_per_pod=1, min_pods=2)
    fleet.settle(lambda: len(fleet.running()) == 2, "the minimum runs")
    for name in fleet.running():
        fleet.register(name)
    freeze_changes.freeze_now(fleet.core, "default", until=None, reason="incident", by="eve")
    freezing.apply_windows(fleet.core)
    fleet.settle(lambda: not fleet.cluster.pods(), "they go")
    made = fleet.made()
    for _ in range(4):
        fleet.manager.reconcile_pods()
    assert (fleet.made(), fleet.names()) == (made, [])
    freeze_changes.lift(fleet.core, "default", reason="it is over", by="eve")
    fleet.settle(lambda: len(fleet.running()) == 2, "they are back")


def test_somebody_elses_pods_are_left_alone_and_deleted_ones_replaced(fleet: ClusterFleet) -> None:
    """docs/failures.md 17: a person with kubectl deletes a pod; it goes within its grace, and another one comes."""
    fleet.pool(max_pods=2, slots_per_pod=1, min_pods=1)
    foreign = {"metadata": {"name": "foreign"}, "spec": {"containers": [{"name": "worker", "image": IMAGE}]}}
    fleet.cluster.api.answers.pods.create(fleet.cluster.namespace, foreign, {})
    fleet.settle(lambda: len(fleet.running()) == 2, "both run")
    [name] = fleet.names()
    fleet.register(name)
    fleet.cluster.delete(name)
    fleet.settle(lambda: not fleet.names(), "it is gone")
    fleet.world.clock.advance(301)
    fleet.settle(lambda: fleet.names() not in ([], [name]) and len(fleet.running()) == 2, "there is another one")
    assert fleet.cluster.pod("foreign")
