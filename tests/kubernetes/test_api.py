"""The stand-in itself, asked by the official client."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from tests import processes
from tests.kubernetes import access
from tests.kubernetes.cluster import NAMESPACE, Cluster
from tests.kubernetes.containers import PAPER, Image
from tests.waiting import wait_until

SLEEPS = Image(entrypoint=("sleep", "600"), environment={"PATH": "/usr/bin:/bin"})
SHELL = Image(entrypoint=("sh", "-c"), environment={"PATH": "/usr/bin:/bin"})


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "node", {"paper": PAPER, "sleeps": SLEEPS, "shell": SHELL}) as made:
        made.api.bookmark_seconds = 0.1
        yield made


@pytest.fixture
def api(cluster: Cluster, tmp_path: Path) -> Iterator[client.CoreV1Api]:
    configuration = client.Configuration()
    configuration.retries = False
    config.load_kube_config(str(cluster.write_kubeconfig(tmp_path / "kubeconfig")), client_configuration=configuration)
    with client.ApiClient(configuration) as made:
        yield client.CoreV1Api(made)


def pod(name: str = "a", image: str = "paper", **changes: object) -> dict:
    container = {"name": "main", "image": image, **changes.pop("container", {})}
    metadata = {"name": name, **changes.pop("metadata", {})}
    spec = {"restartPolicy": "Never", "containers": [container], **changes}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def create(api: client.CoreV1Api, **given: object) -> client.V1Pod:
    return api.create_namespaced_pod(NAMESPACE, pod(**given))


def phase(api: client.CoreV1Api, wanted: str, name: str = "a") -> client.V1Pod:
    def read() -> client.V1Pod | None:
        found = api.read_namespaced_pod(name, NAMESPACE)
        return found if found.status.phase == wanted else None

    return wait_until(read, what=f"{name} is {wanted}")


def gone(cluster: Cluster, name: str = "a") -> None:
    wait_until(lambda: cluster.pod(name) is None, what=f"{name} is gone")


@contextlib.contextmanager
def refused(code: int, *words: str) -> Iterator[None]:
    with pytest.raises(ApiException) as caught:
        yield
    assert caught.value.status == code
    for word in words:
        assert word in caught.value.body


def test_a_pod_runs_goes_gracefully_and_takes_everything_with_it(api, cluster, tmp_path) -> None:
    script = "trap 'echo asked; exit 0' TERM; setsid setsid sleep 601 & echo $! > $0; while :; do sleep 0.05; done"
    left = tmp_path / "pid"
    create(api, image="shell", container={"args": [script, str(left)]})
    phase(api, "Running")
    wait_until(left.exists)
    child = int(wait_until(left.read_text))
    going = api.delete_namespaced_pod("a", NAMESPACE, grace_period_seconds=20)
    assert going.metadata.deletion_timestamp
    assert cluster.pod("a") is None or cluster.pod("a")["status"]["phase"] == "Running"
    gone(cluster)
    assert not processes.is_alive(child)
    with refused(404, "not found"):
        api.delete_namespaced_pod("a", NAMESPACE)


def post(cluster: Cluster, body: object, *, namespace: str = NAMESPACE, query: str = "") -> str:
    """Create a pod without the client, which would look at it first."""
    url = f"{cluster.api.url}/api/v1/namespaces/{namespace}/pods{query}"
    headers = {"Authorization": f"Bearer {access.TOKEN}"}
    found = urllib3.request("POST", url, json=body, headers=headers, retries=False)
    return f"{found.status} {found.json()['message']}"


def test_what_is_wrong_with_a_pod_is_said_and_nothing_is_made(api, cluster) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "a"}
    wrong = {
        '"Pod_A"': {"name": "Pod_A"},
        "metadata.labels": {"metadata": {"labels": {"pool": "not/a value"}}},
        "ownerReferences[0].uid": {"metadata": {"ownerReferences": [owner]}},
        "Duplicate value": {"containers": [{"name": "main", "image": "x"}] * 2},
        "volumeMounts[0].name": {"container": {"volumeMounts": [{"name": "none", "mountPath": "/work"}]}},
        "quantities must match": {"container": {"resources": {"limits": {"memory": "much"}}}},
    }
    for words, changes in wrong.items():
        said = post(cluster, pod(**changes))
        assert said.startswith("422"), said
        assert words in said
    for words, changes in (
        ("spec.terminationGracePeriodSeconds", {"terminationGracePeriodSeconds": "long"}),
        ('unknown field "spec.replicas"', {"replicas": 2}),
    ):
        said = post(cluster, pod(**changes), query="?fieldValidation=Strict")
        assert said.startswith("400"), said
        assert words in said
    assert post(cluster, pod(), namespace="nowhere") == '404 namespaces "nowhere" not found'
    with refused(403, "service account"):
        create(api, serviceAccountName="nobody")
    assert api.create_namespaced_pod(NAMESPACE, pod(), dry_run="All").metadata.uid
    assert cluster.pods() == []


def test_conflicts_and_preconditions(api, cluster) -> None:
    first = create(api, name="a")
    with refused(409, "AlreadyExists"):
        create(api, name="a")
    phase(api, "Running")
    with refused(409, "the object has been modified"):
        api.patch_namespaced_pod(
            "a", NAMESPACE, {"metadata": {"labels": {"b": "c"}, "resourceVersion": first.metadata.resource_version}}
        )
    with refused(422, "pod updates may not change fields"):
        api.patch_namespaced_pod("a", NAMESPACE, {"spec": {"restartPolicy": "Always"}})
    patched = api.patch_namespaced_pod("a", NAMESPACE, {"metadata": {"annotations": {"b": "c"}}})
    same = api.patch_namespaced_pod("a", NAMESPACE, {"metadata": {"annotations": {"b": "c"}}})
    assert patched.metadata.resource_version == same.metadata.resource_version
    with refused(409, "UID in precondition"):
        api.delete_namespaced_pod("a", NAMESPACE, body={"preconditions": {"uid": "another"}})
    api.delete_namespaced_pod("a", NAMESPACE, body={"preconditions": {"uid": first.metadata.uid}})
    gone(cluster)
    cluster.kubelet.nodes["node-1"].room = 0
    create(api, name="a")
    wait_until(lambda: "Unschedulable" in str(cluster.pod("a")))
    api.delete_namespaced_pod("a", NAMESPACE)
    assert cluster.pod("a") is None, "what runs nowhere is removed at once"


def test_lists_are_selected_paged_and_may_be_stale(api, cluster) -> None:
    for name, pool in (("a", "x"), ("b", "x"), ("c", "y")):
        create(api, name=name, metadata={"labels": {"pool": pool}})
        phase(api, "Running", name)

    def names(**selected: object) -> list[str]:
        return [found.metadata.name for found in api.list_namespaced_pod(NAMESPACE, **selected).items]

    assert names(label_selector="pool=x") == ["a", "b"]
    assert names(label_selector="pool notin (x),pool") == ["c"]
    assert names(label_selector="pool!=x,!other") == ["c"]
    assert names(field_selector="metadata.name=b,status.phase=Running") == ["b"]
    page = api.list_namespaced_pod(NAMESPACE, limit=2)
    assert page.metadata.remaining_item_count == 1
    assert names(limit=2, _continue=page.metadata._continue) == ["c"]
    cluster.api.answers.freeze_cache()
    api.delete_namespaced_pod("a", NAMESPACE)
    gone(cluster)
    assert names() == ["b", "c"]
    assert names(resource_version="0") == ["a", "b", "c"]
    with refused(504, "Too large resource version"):
        names(resource_version="999999")


def events(api, **options: object) -> Iterator[dict]:
    options = {"timeout_seconds": 5, **options}
    return watch.Watch().stream(api.list_namespaced_pod, NAMESPACE, allow_watch_bookmarks=True, **options)


def test_a_watch_tells_what_changes_and_where_it_is(api, cluster) -> None:
    create(api, name="a", metadata={"labels": {"pool": "x"}})
    found = events(api, label_selector="pool=x")
    assert next(found)["type"] == "ADDED"
    before = api.list_namespaced_pod(NAMESPACE).metadata.resource_version
    create(api, name="other")
    phase(api, "Running", "other")
    mark = next(event for event in found if event["type"] == "BOOKMARK" and event["object"])
    assert int(mark["raw_object"]["metadata"]["resourceVersion"]) >= int(before)
    api.patch_namespaced_pod("a", NAMESPACE, {"metadata": {"labels": {"pool": "y"}}})
    assert next(event for event in found if event["type"] == "DELETED")["object"].metadata.labels == {"pool": "y"}
    cluster.storage.compact()
    with pytest.raises(ApiException, match="410"):
        list(events(api, resource_version=before))


def test_a_watch_is_cut_and_ends_by_itself(api, cluster) -> None:
    found = events(api, timeout_seconds=60)
    assert next(found)["type"] == "BOOKMARK"
    assert cluster.api.watches == 1
    cluster.api.cut_watches()
    with pytest.raises(urllib3.exceptions.ProtocolError):
        list(found)
    wait_until(lambda: cluster.api.watches == 0)
    assert {event["type"] for event in events(api, timeout_seconds=1)} == {"BOOKMARK"}


def test_answers_go_wrong_as_they_are_told_to(api, cluster) -> None:
    cluster.fail(verb="create", code=429, retry_after=1)
    with pytest.raises(ApiException) as caught:
        create(api, name="a")
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "1")
    lost = cluster.fail(verb="create", loses_answer=True)
    with pytest.raises(urllib3.exceptions.HTTPError):
        create(api, name="a")
    assert lost.happened == 1
    assert cluster.pod("a"), "it was done"
    cluster.fail(verb="get", delay=30)
    with pytest.raises(urllib3.exceptions.HTTPError):
        api.read_namespaced_pod("a", NAMESPACE, _request_timeout=0.2)
    with cluster.api.away(), pytest.raises(urllib3.exceptions.HTTPError):
        api.list_namespaced_pod(NAMESPACE)
    api.list_namespaced_pod(NAMESPACE)
    cluster.api.access.rights.remove(("list", "pods"))
    with refused(403, 'cannot list resource \\"pods\\"'):
        api.list_namespaced_pod(NAMESPACE)
    assert [one.code for one in cluster.api.asked if one.verb == "create"] == [429, None]


def test_rights_are_reviewed_and_strangers_refused(api, cluster, tmp_path) -> None:
    asked = {"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": NAMESPACE}}}
    review = client.AuthorizationV1Api(api.api_client).create_self_subject_access_review
    assert review(asked).status.allowed
    cluster.api.access.rights.clear()
    assert not review(asked).status.allowed
    assert client.VersionApi(api.api_client).get_code().major == "1"
    stranger = client.Configuration()
    config.load_kube_config(
        str(cluster.write_kubeconfig(tmp_path / "stranger", token="x")), client_configuration=stranger
    )
    with client.ApiClient(stranger) as unknown, refused(401, "Unauthorized"):
        client.CoreV1Api(unknown).list_namespaced_pod(NAMESPACE)


def state(found: client.V1Pod) -> client.V1ContainerState:
    return found.status.container_statuses[0].state


def waits(api, reason: str, name: str = "a") -> str:
    def read() -> str | None:
        found = api.read_namespaced_pod(name, NAMESPACE)
        said = state(found).waiting if found.status.container_statuses else None
        return said.message if said and said.reason == reason else None

    return wait_until(read, what=f"{name} waits: {reason}")


def test_what_keeps_a_pod_from_starting_is_said_and_tried_again(api, cluster) -> None:
    create(api, name="a", image="absent")
    assert "absent" in waits(api, "ImagePullBackOff")
    cluster.images["absent"] = PAPER
    phase(api, "Running")
    secret = {"secretKeyRef": {"name": "database", "key": "url"}}
    create(
        api,
        name="b",
        image="shell",
        container={
            "args": ['echo "$URL"; exit 3'],
            "env": [{"name": "URL", "valueFrom": secret}],
            "terminationMessagePolicy": "FallbackToLogsOnError",
        },
    )
    assert waits(api, "CreateContainerConfigError", "b") == 'secret "database" not found'
    cluster.secrets["database"] = {"other": "x"}
    wait_until(lambda: "couldn't find key url" in waits(api, "CreateContainerConfigError", "b"))
    cluster.secrets["database"]["url"] = "postgresql://here"
    ended = state(phase(api, "Failed", "b")).terminated
    assert (ended.exit_code, ended.reason, ended.message) == (3, "Error", "postgresql://here\n")
    cluster.kubelet.nodes["node-1"].room = 2
    create(api, name="c")
    wait_until(lambda: "Insufficient memory" in str(cluster.pod("c")))
    cluster.kubelet.add_node("node-2")
    assert phase(api, "Running", "c").spec.node_name == "node-2"


def test_containers_are_killed_and_start_again(api, cluster) -> None:
    create(api, name="a", image="sleeps", restartPolicy="Always")
    phase(api, "Running")
    cluster.kubelet.kill_for_memory("a")
    wait_until(lambda: "OOMKilled" in str(cluster.pod("a")))
    wait_until(lambda: api.read_namespaced_pod("a", NAMESPACE).status.container_statuses[0].restart_count == 1)
    phase(api, "Running")
    pid = wait_until(lambda: cluster.kubelet.workload("a").container).pid
    cluster.kubelet.evict("a")
    found = phase(api, "Failed")
    assert (found.status.reason, state(found).terminated.exit_code) == ("Evicted", 137)
    assert not processes.is_alive(pid)
    assert cluster.pod("a"), "it stays until somebody deletes it"
    api.delete_namespaced_pod("a", NAMESPACE)
    assert cluster.pod("a") is None


def test_a_lost_node_says_running_and_hears_nothing(api, cluster) -> None:
    for name in ("a", "b"):
        create(api, name=name, image="sleeps")
        phase(api, "Running", name)
    shim = cluster.kubelet.workload("a").container.pid
    child = wait_until(lambda: processes.descendants(shim))[0]
    cluster.kubelet.lose_node()
    wait_until(lambda: processes.look(child.pid).state == "T")
    api.delete_namespaced_pod("a", NAMESPACE, grace_period_seconds=1)
    found = api.read_namespaced_pod("a", NAMESPACE)
    assert (found.status.phase, bool(found.metadata.deletion_timestamp)) == ("Running", True)
    cluster.kubelet.recover_node()
    gone(cluster)
    assert not processes.is_alive(child.pid)
    cluster.kubelet.lose_node()
    cluster.kubelet.remove_node()
    assert cluster.pods() == []
