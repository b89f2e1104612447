"""The Kubernetes runtime against an API server: what goes wrong on the way to it, and what its answers mean."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from iacq.adapters.kubernetes.api import KubernetesApi
from iacq.adapters.kubernetes.pods import KubernetesPodRuntime
from iacq.domain.pod_manifest import SAFE_TO_EVICT
from iacq.errors import Conflict, InvalidInput, Unavailable
from iacq.ports import PodPhase, PodSpec, PresentPod
from iacq.settings import Settings
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.containers import Image
from tests.waiting import wait_until

SECRET = {"IACQ_DATABASE_URL": "a", "IACQ_BROKER_URL": "b", "IACQ_ENCRYPTION_KEYS": "c"}
Make = Callable[..., KubernetesPodRuntime]


def spec(name: str = "pod-a", **changes: Any) -> PodSpec:
    return PodSpec(**{"name": name, "pool": "default", "slots": 1, "generation": 1, "template": None, **changes})


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Its agents only sleep."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python").write_text("#!/bin/sh\nexec sleep 600\n")
    (programs / "python").chmod(0o755)
    image = Image(environment={"PATH": f"{programs}:/usr/bin:/bin"})
    with Cluster(tmp_path / "node", {"agent": image}) as made:
        made.api.bookmark_seconds = 0.1
        made.secrets["iacq"] = SECRET
        yield made


@pytest.fixture
def make(cluster: Cluster, tmp_path: Path) -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def make(*, patience: float = 4, **given: Any) -> KubernetesPodRuntime:
            kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig")
            settings = Settings(**{"kubeconfig": kubeconfig, "pod_image": "agent", **given})
            runtime = KubernetesPodRuntime(settings, KubernetesApi(settings, patience=patience))
            return stack.enter_context(contextlib.closing(runtime))

        yield make


def names(runtime: KubernetesPodRuntime, *expected: str) -> list[str]:
    return [pod.name for pod in runtime.present(expected)]


def find(runtime: KubernetesPodRuntime, name: str = "pod-a") -> PresentPod | None:
    return next((pod for pod in runtime.present() if pod.name == name), None)


def asked(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except Unavailable as error:
        return error


def until(runtime: KubernetesPodRuntime, phase: PodPhase) -> PresentPod:
    return wait_until(lambda: (pod := find(runtime)) and pod.phase is phase and pod, what=str(phase))


def test_what_two_control_workers_do_both_of_them_see_without_asking_again(cluster: Cluster, make: Make) -> None:
    one, other = make(), make()
    assert one.identity == other.identity
    assert one.present() == other.present() == []
    lists = cluster.api.count("list")
    one.create(spec())
    assert names(one) == ["pod-a"], "who made it knows at once"
    wait_until(lambda: names(other) == ["pod-a"], what="the other one hears of it")
    other.create(spec())
    uid = until(other, PodPhase.RUNNING).uid
    one.delete("pod-a", uid=uid)
    wait_until(lambda: not names(other), what="it is gone")
    assert cluster.api.count("list") == lists


def test_pods_belong_to_the_deployment_that_is_named(cluster: Cluster, make: Make) -> None:
    runtime = make(pod_owner="iacq-control")
    with pytest.raises(Unavailable, match="iacq-control"):
        runtime.create(spec())
    owner = cluster.add_deployment("iacq-control")
    runtime.create(spec())
    pod = cluster.pod("pod-a")
    assert pod is not None
    assert [(one["kind"], one["uid"]) for one in pod["metadata"]["ownerReferences"]] == [
        ("Deployment", owner["metadata"]["uid"])
    ]


def test_absence_is_believed_only_when_the_server_says_it_of_that_name(cluster: Cluster, make: Make) -> None:
    """A watch may be late, or a label be gone: of a pod that lives nobody says that it is gone."""
    late, other = make(), make()
    other.create(spec())
    until(other, PodPhase.RUNNING)
    assert names(late) == ["pod-a"]
    with cluster.storage._condition:  # nothing is heard of a change meanwhile

        def forget_labels(pod: dict[str, Any]) -> dict[str, Any]:
            pod["metadata"]["labels"] = {}
            return pod

        cluster.storage.change(next(key for key in cluster.storage._objects if key.name == "pod-a"), forget_labels)
    wait_until(lambda: not names(late), what="the watch says that it is gone")
    assert names(late, "pod-a", "pod-b") == ["pod-a"]


def test_a_webhook_that_refuses_is_an_answer(cluster: Cluster, make: Make) -> None:
    """With whatever code it likes: the cluster is not away, and the pods of other pools go on."""
    runtime = make(patience=600)
    cluster.fail(verb="create", code=500, message='admission webhook "policy" denied the request: no')
    with pytest.raises(Conflict, match="denied the request: no"):
        runtime.create(spec())


def test_a_404_of_something_on_the_way_proves_nothing(cluster: Cluster, make: Make) -> None:
    runtime = make()
    assert runtime.present() == []
    cluster.fail(verb="get", code=404, reason="", message="no such page")
    with pytest.raises(Unavailable):
        runtime.present(["pod-a"])


def test_a_watch_that_is_cut_goes_on_where_it_was(cluster: Cluster, make: Make) -> None:
    runtime = make()
    assert runtime.present() == []
    for name in ("pod-a", "pod-b"):
        cluster.api.cut_watches()
        make().create(spec(name))
        wait_until(lambda name=name: name in names(runtime), what="it hears of it")
    assert cluster.api.count("list") == 1, "it was not listed again"


def test_a_server_that_has_forgotten_where_it_was_is_asked_for_all_again(cluster: Cluster, make: Make) -> None:
    runtime = make()
    assert runtime.present() == []
    cluster.fail(verb="watch", code=410, reason="Expired", times=1)
    cluster.api.cut_watches()
    make().create(spec())
    wait_until(lambda: names(runtime) == ["pod-a"], what="it hears of it")
    assert cluster.api.count("list") == 2


def test_while_the_server_is_away_nothing_is_known_and_afterwards_all(cluster: Cluster, make: Make) -> None:
    runtime = make()
    runtime.create(spec())
    until(runtime, PodPhase.RUNNING)
    with cluster.api.away():
        wait_until(lambda: isinstance(asked(runtime.present), Unavailable), what="it is noticed")
        for call in (runtime.present, lambda: runtime.create(spec("pod-b")), lambda: runtime.delete("pod-a")):
            with pytest.raises(Unavailable, match="does not answer"):
                call()
    wait_until(lambda: not isinstance(asked(runtime.present), Unavailable), what="it answers again")
    assert names(runtime) == ["pod-a"]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_server_is_asked_again_for_a_while(cluster: Cluster, make: Make, code: int) -> None:
    runtime = make(patience=60)
    fault = cluster.fail(verb="create", code=code, times=2)
    runtime.create(spec())
    assert names(runtime) == ["pod-a"]
    assert fault.happened == 2


def test_one_that_wants_long_rest_is_left_alone(cluster: Cluster, make: Make) -> None:
    fault = cluster.fail(verb="create", code=429, times=None, retry_after=60)
    with pytest.raises(Unavailable, match="busy"):
        make().create(spec())
    assert fault.happened == 1


def test_an_answer_that_is_lost_is_no_second_pod(cluster: Cluster, make: Make) -> None:
    """Asked again, the server says that it is there."""
    runtime = make(patience=60)
    cluster.fail(verb="create", loses_answer=True)
    runtime.create(spec())
    assert names(runtime, "pod-a") == ["pod-a"]
    cluster.fail(verb="delete", loses_answer=True)
    runtime.delete("pod-a")
    wait_until(lambda: not names(runtime), what="it is gone")


def test_a_conflict_that_is_no_pod_of_that_name_is_none(cluster: Cluster, make: Make) -> None:
    """A quota that others change at the same time is a conflict, too."""
    runtime = make()
    cluster.fail(verb="create", code=409, reason="Conflict", message="resourcequotas: please try again")
    with pytest.raises(Unavailable, match="please try again"):
        runtime.create(spec())
    runtime.create(spec())
    assert names(runtime) == ["pod-a"]


def test_a_right_that_is_missing_is_named_in_one_sentence(cluster: Cluster, make: Make) -> None:
    runtime = make()
    for verb, call in (
        ("delete", lambda: runtime.delete("pod-a")),
        ("watch", runtime.present),
        ("patch", lambda: runtime.mark("pod-a", uid="u", in_use=True)),
    ):
        cluster.api.access.rights.discard((verb, "pods"))
        with pytest.raises((Unavailable, Conflict), match=f"no right to .*{verb} pods in namespace iacq"):
            call()
    cluster.api.access.rights.discard(("create", "pods"))
    with pytest.raises(Conflict, match='cannot create resource "pods"'):
        runtime.create(spec())


def test_a_namespace_that_is_not_there(make: Make) -> None:
    runtime = make(pod_namespace="nowhere")
    with pytest.raises(Unavailable, match="namespace nowhere") as missing:
        runtime.identity  # noqa: B018 - it asks
    assert missing.value.field == "IACQ_POD_NAMESPACE"


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "cannot be used"), ("[", "cannot be used"), ("{}", "cannot be used"), (None, "cannot be used")],
)
def test_a_kubeconfig_that_does_not_work(make: Make, tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "other"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Unavailable, match=said) as wrong:
        make(kubeconfig=file).create(spec())
    assert wrong.value.field == "IACQ_KUBECONFIG"


def test_outside_of_a_cluster_a_kubeconfig_is_asked_for(make: Make) -> None:
    with pytest.raises(Unavailable, match="not in a cluster") as wrong:
        make(kubeconfig=None).present()
    assert "IACQ_KUBECONFIG" in (wrong.value.hint or "")


def test_credentials_of_another_cluster(cluster: Cluster, make: Make, tmp_path: Path) -> None:
    file = cluster.write_kubeconfig(tmp_path / "other", token="wrong")
    with pytest.raises(Unavailable, match="does not accept the credentials"):
        make(kubeconfig=file).create(spec())


def test_a_template_with_fields_that_no_pod_has_is_refused_by_the_cluster(cluster: Cluster, make: Make) -> None:
    runtime = make()
    for call in (runtime.create, runtime.check):
        with pytest.raises(InvalidInput, match="nodeSelectr"):
            call(spec(template={"spec": {"nodeSelectr": {"a": "b"}}}))
    assert cluster.pods() == []


def test_a_dry_run_makes_nothing(cluster: Cluster, make: Make) -> None:
    make().check(spec())
    assert cluster.pods() == []


def test_whether_runs_need_a_pod_is_written_once_where_autoscalers_look(cluster: Cluster, make: Make) -> None:
    runtime = make()
    runtime.create(spec())
    found = until(runtime, PodPhase.RUNNING)
    assert found.in_use
    runtime.mark("pod-a", uid=found.uid, in_use=False)
    pod = cluster.pod("pod-a")
    assert pod is not None
    assert pod["metadata"]["annotations"][SAFE_TO_EVICT] == "true"
    assert find(runtime).in_use is False
    runtime.mark("pod-a", uid="another", in_use=True)
    assert find(runtime).in_use is False
    runtime.mark("pod-x", uid="u", in_use=True)


def test_a_pod_is_deleted_only_if_it_is_the_one_that_was_meant(make: Make) -> None:
    runtime = make(stop_grace=0.0)
    runtime.create(spec())
    uid = until(runtime, PodPhase.RUNNING).uid
    runtime.delete("pod-a", uid="another")
    assert names(runtime, "pod-a") == ["pod-a"]
    assert find(runtime).phase is PodPhase.RUNNING
    runtime.delete("pod-a", uid=uid)
    wait_until(lambda: not names(runtime, "pod-a"), what="it is gone")


def test_two_systems_of_one_namespace_do_not_see_each_other(cluster: Cluster, make: Make) -> None:
    cluster.secrets["staging"] = SECRET
    one, other = make(), make(pod_secret="staging")
    one.create(spec())
    other.create(spec("pod-b"))
    assert (names(one), names(other)) == (["pod-a"], ["pod-b"])
    assert one.identity != other.identity


def test_agents_work_by_the_settings_of_the_control_worker(cluster: Cluster, make: Make, tmp_path: Path) -> None:
    make(heartbeat=0.5, stop_grace=900.0, git_protocols=("https",), work_dir=tmp_path, actor="me").create(spec())
    pod = cluster.pod("pod-a")
    assert pod is not None
    [worker] = pod["spec"]["containers"]
    told = {one["name"]: one.get("value") for one in worker["env"]}
    assert (told["IACQ_HEARTBEAT"], told["IACQ_STOP_GRACE"], told["IACQ_GIT_PROTOCOLS"]) == ("0.5", "900.0", "https")
    assert not {"IACQ_WORK_DIR", "IACQ_ACTOR", "IACQ_KUBECONFIG", "IACQ_POD_IMAGE", "IACQ_LEASE"} & set(told)
    assert pod["spec"]["terminationGracePeriodSeconds"] == 930


def test_a_secret_that_is_lacking_is_why_the_pod_does_not_run(cluster: Cluster, make: Make) -> None:
    del cluster.secrets["iacq"]
    runtime = make()
    runtime.create(spec())
    found = wait_until(lambda: (pod := find(runtime)) and pod.reason and pod, what="it says why")
    assert found.phase is PodPhase.STARTING
    assert "CreateContainerConfigError" in (found.reason or "")


def test_an_evicted_pod_and_one_without_memory_have_failed_and_say_why(cluster: Cluster, make: Make) -> None:
    runtime = make()
    for kill, said in ((cluster.kubelet.evict, "evicted"), (cluster.kubelet.kill_for_memory, "memory")):
        runtime.create(spec())
        until(runtime, PodPhase.RUNNING)
        kill("pod-a")
        assert said in (until(runtime, PodPhase.FAILED).reason or "")
        runtime.delete("pod-a")
        wait_until(lambda: not names(runtime), what="it is gone")


def test_of_a_lost_node_nobody_says_that_its_pods_are_gone(cluster: Cluster, make: Make) -> None:
    runtime = make(stop_grace=0.0)
    runtime.create(spec())
    until(runtime, PodPhase.RUNNING)
    cluster.kubelet.lose_node()
    wait_until(lambda: (pod := find(runtime)) and pod.reason == "its node does not answer", what="it is said")
    runtime.delete("pod-a")
    assert until(runtime, PodPhase.STOPPING)
    assert names(runtime, "pod-a") == ["pod-a"]
    cluster.kubelet.remove_node()
    wait_until(lambda: not names(runtime, "pod-a"), what="it is gone with its node")


def test_a_closed_runtime_begins_anew(make: Make) -> None:
    runtime = make()
    runtime.create(spec())
    assert names(runtime) == ["pod-a"]
    runtime.close()
    assert names(runtime) == ["pod-a"]
