"""`iacq doctor` with pods in a cluster."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from iacq.bootstrap import cluster_checks
from iacq.domain import sizing
from iacq.domain.pool import PoolPolicy
from iacq.errors import Unavailable
from iacq.settings import Settings
from iacq.store import migrate, pools
from iacq.store.session import Database
from tests.kubernetes.cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "node", {}) as made:
        yield made


@pytest.fixture
def settings(cluster: Cluster, home: Path, tmp_path: Path) -> Settings:
    made = Settings(
        home=home,
        pod_runtime="kubernetes",
        pod_image="agent",
        kubeconfig=cluster.write_kubeconfig(tmp_path / "kubeconfig"),
    )
    home.mkdir(exist_ok=True)
    migrate.upgrade(made.sqlalchemy_url)
    return made


def look(name: str, settings: Settings) -> str:
    return cluster_checks.LOOKS[name](settings)


def add_pool(settings: Settings, name: str, **changes: object) -> None:
    database = Database(settings.sqlalchemy_url)
    database.run(pools.create, name, PoolPolicy(max_pods=20, slots_per_pod=4), **changes)
    database.close()


def test_a_cluster_that_is_as_it_should_be(settings: Settings) -> None:
    add_pool(settings, "build")
    said = {name: look(name, settings) for name in cluster_checks.LOOKS}
    assert "namespace iacq" in said["cluster"]
    assert said["rights"].startswith("all 7")
    assert "each of 1 pools" in said["templates"]
    assert "cluster" in said["clocks"]
    assert "PostgreSQL: up to 300 of unknown" in said["connections"]


def test_each_missing_right_is_named(cluster: Cluster, settings: Settings) -> None:
    owned = dataclasses.replace(settings, pod_owner="iacq-control")
    assert look("rights", owned).startswith("all 8"), "the rule for the Deployment names it"
    cluster.api.access.rights -= {("patch", "pods"), ("watch", "pods")}
    with pytest.raises(Unavailable, match="no right to watch pods, patch pods in namespace iacq"):
        look("rights", settings)
    cluster.api.access.rights -= {("get", "deployments")}
    with pytest.raises(Unavailable, match="get deployments"):
        look("rights", owned)


def test_every_template_that_the_cluster_refuses_is_named_and_no_pod_is_made(
    cluster: Cluster, settings: Settings
) -> None:
    add_pool(settings, "good")
    add_pool(settings, "bad", template={"spec": {"nodeSelectr": {}}})
    with pytest.raises(Unavailable, match=r"^bad: .*nodeSelectr"):
        look("templates", settings)
    assert cluster.pods() == []


def test_a_way_that_does_not_lead_to_a_cluster(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="kubeconfig"):
        look("cluster", dataclasses.replace(settings, kubeconfig=tmp_path / "nothing"))
    with pytest.raises(Unavailable, match="namespace nowhere"):
        look("cluster", dataclasses.replace(settings, pod_namespace="nowhere"))


def test_connections_grow_with_pods_and_slots() -> None:
    none = sizing.count_connections([])
    some = sizing.count_connections([PoolPolicy(max_pods=2, slots_per_pod=3), PoolPolicy(max_pods=1, slots_per_pod=1)])
    assert (some.database - none.database, some.broker - none.broker) == (2 * 11 + 5, 2 * 24 + 12)
