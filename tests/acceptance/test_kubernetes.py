"""The fleet on a cluster: what becomes of runs when pods, nodes or the API do what they do there."""

from collections.abc import Callable, Iterator

import pytest

from iacq.domain.run import Run, StartTier, Status, WarmupStatus
from tests.acceptance import configurations
from tests.acceptance.cluster_system import ClusterSystem
from tests.acceptance.conftest import MARKS
from tests.bench.spy import NO_OP


@pytest.fixture(scope="module")
def shared(
    clean_environment: None, make_database: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterSystem]:
    """Give one system for all tests here. Its database is what clusters have."""
    directory = tmp_path_factory.mktemp("kubernetes")
    url = make_database("postgresql", directory / "database")
    with ClusterSystem(directory / "system", url, WARMUP_RETRIES="3") as system:
        yield system


@pytest.fixture
def system(request: pytest.FixtureRequest, shared: ClusterSystem, home) -> Iterator[ClusterSystem]:
    """Give it without pods."""
    request.node.stash[MARKS] = [(shared, shared.mark())]
    shared.pool(min_pods=0)
    yield shared
    shared.tidy()


def planned(system: ClusterSystem, name: str) -> Run:
    """Plan a workspace, on however many pods that needs."""
    run = system.client.enqueue(name, "plan_and_apply")
    return system.settle(lambda: reached(system, run, Status.APPLY_PENDING), f"{name} is planned")


def reached(system: ClusterSystem, run: Run, status: Status) -> Run | None:
    found = system.client.get(run.id)
    assert found.status not in (Status.FAILED, Status.CANCELLED), found.error_text
    return found if found.status is status else None


def test_a_pod_killed_before_the_confirmation_costs_no_init(system, tmp_path) -> None:
    """docs/failures.md 17, 24: the plan is prepared in another pod, the killed one leaves nothing."""
    system.workspace("waits", configurations.write(tmp_path / "waits", configurations.COUNTED))
    run = planned(system, "waits")
    [first] = system.client.pods()
    system.pool(min_pods=1)
    system.cluster.kubelet.kill_for_memory(first.name)
    warm = system.settle(
        lambda: (found := system.client.get(run.id)).warmup_status is WarmupStatus.READY and found, "it is warmed up"
    )
    assert warm.prepared_pod_name != first.name
    assert system.cluster.pod(first.name) is None
    system.confirm(warm)
    applied = system.wait(warm)
    assert (applied.status, applied.start_tier) == (Status.APPLIED, StartTier.WARM)
    assert len(system.spy.calls("init", run=run.id)) == 1


def test_eviction_makes_a_plan_again_and_never_an_apply(system, tmp_path, gate) -> None:
    """docs/failures.md 9, 24, 28: with the pod ends all that lived of it, which proves the end of the apply."""
    system.workspace("applies", configurations.write(tmp_path / "applies", gate.configuration()))
    applies = planned(system, "applies")
    system.confirm(applies)
    gate.reached()
    blocker = tmp_path / "go"
    system.spy.hook(f'if [ "$1" = plan ]; then while [ ! -e {blocker} ]; do sleep 0.1; done; fi')
    system.workspace("plans", configurations.write(tmp_path / "plans", configurations.COUNTED))
    plans = system.client.enqueue("plans", "plan")
    system.settle(lambda: "plan" in system.spy.commands(plans.id), "it plans")
    [pod] = system.client.pods()
    system.cluster.kubelet.evict(pod.name)
    interrupted = system.settle(lambda: reached(system, applies, Status.APPLY_INTERRUPTED), "it is interrupted")
    blocker.touch()
    system.settle(lambda: reached(system, plans, Status.SUCCESS), "it is planned in another pod")
    evidence = system.client.evidence(interrupted.id)
    assert (evidence.end_proven, gate.visits()) == (True, 1)
    assert system.cluster.pod(pod.name) is None
    assert system.client.get(plans.id).pod_name != pod.name
    assert len(system.spy.calls("apply", run=applies.id)) == 1


def test_a_drained_node_lets_an_apply_end(system, tmp_path, gate) -> None:
    """docs/failures.md 29: `kubectl drain` asks the pod to go; what waits for a person goes on elsewhere."""
    system.workspace("waits", configurations.write(tmp_path / "waits", configurations.COUNTED))
    system.workspace("applies", configurations.write(tmp_path / "applies", gate.configuration()))
    waits, applies = planned(system, "waits"), planned(system, "applies")
    system.confirm(applies)
    gate.reached()
    [pod] = system.client.pods()
    system.cluster.kubelet.nodes["node-1"].cordoned = True
    system.cluster.kubelet.add_node("node-2")
    system.cluster.delete(pod.name)
    system.settle(lambda: not any(one.usable for one in system.client.slots() if one.pod_name == pod.name), "closed")
    gate.open()
    applied = system.settle(lambda: reached(system, applies, Status.APPLIED), "the apply has ended")
    assert applied.pod_name == pod.name
    system.settle(lambda: system.cluster.pod(pod.name) is None, "the pod is gone")
    system.confirm(waits)
    elsewhere = system.settle(lambda: reached(system, waits, Status.APPLIED), "it is applied elsewhere")
    assert elsewhere.start_tier is StartTier.WARM
    assert system.client.pods()[0].name != pod.name


def test_a_lost_node_gets_nothing_proves_nothing_and_may_come_back(system, tmp_path, gate) -> None:
    """docs/failures.md 21, 26: the API goes on saying that its pod runs. Nobody applies what it may be applying."""
    system.workspace("applies", configurations.write(tmp_path / "applies", gate.configuration()))
    applies = planned(system, "applies")
    system.confirm(applies)
    gate.reached()
    [pod] = system.client.pods()
    system.cluster.kubelet.add_node("node-2")
    system.cluster.kubelet.lose_node("node-1")
    interrupted = system.settle(lambda: reached(system, applies, Status.APPLY_INTERRUPTED), "its lease is lost")
    assert not system.client.evidence(interrupted.id).end_proven
    assert system.cluster.pod(pod.name)["status"]["phase"] == "Running"
    system.workspace("other", configurations.write(tmp_path / "other", configurations.COUNTED))
    other = system.client.enqueue("other", "plan")
    done = system.settle(lambda: reached(system, other, Status.SUCCESS), "another pod does what is new")
    assert done.pod_name != pod.name
    assert pod.name in {one.name for one in system.client.pods()}
    system.cluster.kubelet.recover_node("node-1")
    gate.open()
    system.settle(lambda: reached(system, applies, Status.APPLIED), "its late report is taken")
    assert len(system.spy.calls("apply", run=applies.id)) == gate.visits() == 1


def test_a_node_that_is_gone_is_proof(system, tmp_path, gate) -> None:
    """docs/failures.md 9, 17: the cluster says that its pod is gone: nothing of it is alive."""
    system.workspace("applies", configurations.write(tmp_path / "applies", gate.configuration()))
    applies = planned(system, "applies")
    system.confirm(applies)
    gate.reached()
    [pod] = system.client.pods()
    system.cluster.kubelet.lose_node("node-1")
    interrupted = system.settle(lambda: reached(system, applies, Status.APPLY_INTERRUPTED), "its lease is lost")
    system.cluster.kubelet.remove_node("node-1")
    system.cluster.kubelet.add_node("node-2")
    system.settle(lambda: system.client.evidence(interrupted.id).end_proven, "its end is proven")
    assert pod.name not in {one.name for one in system.client.pods()}
    assert system.client.resolve(interrupted.id, applied=False, comment="the node is gone").status is Status.FAILED


def test_a_freeze_sends_pods_home_and_its_end_calls_them_back(system, tmp_path) -> None:
    """docs/failures.md 35: the minimum is no reason for a pod in a freeze; a confirmation waits, and goes on alone."""
    system.pool(min_pods=1)
    system.workspace("waits", configurations.write(tmp_path / "waits", configurations.COUNTED))
    waits = planned(system, "waits")
    system.client.freeze("default", reason="incident 42", until="2h")
    confirmed = system.confirm(waits)
    assert confirmed.status is Status.CONFIRMED
    system.settle(lambda: not system.cluster.pods() and not system.client.pods(), "they are gone")
    made = len(created(system))
    system.settle(lambda: system.client.waiting(confirmed).code == "frozen_until", "it says so")
    assert len(created(system)) == made
    system.client.lift_freeze("default", reason="it is over")
    applied = system.settle(lambda: reached(system, waits, Status.APPLIED), "it is applied")
    assert applied.start_tier is StartTier.WARM


def test_a_burst_with_two_control_workers_goes_up_and_down(system, tmp_path) -> None:
    """docs/failures.md 18, 19, 20, 22, 25: one of them is killed, the API goes away and comes back, each runs once."""
    system.pool(idle_grace_ms=1000)
    system.spy.hook(NO_OP)
    path = configurations.write(tmp_path / "it", "")
    names = [f"burst{number}" for number in range(5)]
    for name in ("kept", *names):
        system.workspace(name, path)
    kept = planned(system, "kept")
    [place] = [slot for slot in system.client.slots() if slot.run_id == kept.id]
    blocker = tmp_path / "go"
    system.spy.hook(f'if [ "$1" = plan ]; then while [ ! -e {blocker} ]; do sleep 0.1; done; fi{NO_OP}')
    system.start("control-2", "-m", "workers.control")
    made = len(created(system))
    with system.cluster.api.away():
        runs = [system.client.enqueue(names[number % 5], "plan_and_apply", auto_apply=True) for number in range(10)]
        system.settle(lambda: any(slot.run_id == runs[0].id for slot in system.client.slots()), "one runs where it can")
    system.settle(lambda: len(system.online()) == 3, "there are pods for all that can run")
    assert len(created(system)) == made + 2, "for what waits behind others there is none"
    system.kill("control")
    blocker.touch()
    system.settle(lambda: all(reached(system, run, Status.APPLIED) for run in runs), "all are applied")
    assert sorted(len(system.spy.calls("apply", run=run.id)) for run in runs) == [1] * len(runs)
    system.settle(lambda: [pod.name for pod in system.client.pods()] == [place.pod_name], "the others are gone")
    assert [pod["metadata"]["name"] for pod in system.cluster.pods()] == [place.pod_name]
    system.confirm(kept)
    assert system.wait(kept).start_tier is StartTier.HOT
    system.settle(lambda: not system.cluster.pods(), "the last pod is gone")


def created(system: ClusterSystem) -> list[str]:
    """Return the requests that made pods."""
    return [one.name for one in system.cluster.api.asked if one.verb == "create" and one.code == 201]
