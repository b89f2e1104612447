"""What a worker pod is like: what iacq sets, and what a pool's template may say beside it."""

import json
from typing import Any

import pytest

from iacq.domain import pod_manifest, pod_template
from iacq.domain.pod_manifest import WorkerPod
from iacq.errors import InvalidInput

POD = WorkerPod(
    name="default-x7k2q",
    namespace="ci",
    system="iacq",
    pool="default",
    slots=3,
    generation=4,
    image="iacq-agent:1",
    secret="iacq",
    secret_variables=("IACQ_DATABASE_URL",),
    environment={"IACQ_HEARTBEAT": "1.0"},
    grace=930,
    owner={"apiVersion": "apps/v1", "kind": "Deployment", "name": "iacq-control", "uid": "u"},
)


def built(template: str | dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    if isinstance(template, str):
        template = pod_template.parse(template)
    return pod_manifest.build(WorkerPod(**{**vars(POD), **changes}), template)


def worker(manifest: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in manifest["spec"]["containers"] if one["name"] == "worker")


def environment(manifest: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in worker(manifest)["env"]}


def test_a_pod_without_a_template_is_safe_and_complete() -> None:
    made = built()
    metadata, spec, container = made["metadata"], made["spec"], worker(made)
    assert (made["apiVersion"], made["kind"]) == ("v1", "Pod")
    assert (metadata["name"], metadata["namespace"]) == ("default-x7k2q", "ci")
    assert metadata["labels"] == {
        "app.kubernetes.io/name": "iacq-worker",
        "app.kubernetes.io/managed-by": "iacq",
        "app.kubernetes.io/instance": "iacq",
        "iacq/pool": "default",
        "iacq/generation": "4",
    }
    assert metadata["ownerReferences"] == [POD.owner]
    assert spec["restartPolicy"] == "Never"
    assert spec["terminationGracePeriodSeconds"] == 930
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert security["runAsNonRoot"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security["allowPrivilegeEscalation"]
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["args"] == ["--slots", "3", "--managed"]
    assert container["resources"]["requests"]
    found = environment(made)
    assert found["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert found["POOL_ID"] == "default"
    assert found["IACQ_DATABASE_URL"] == {"secretKeyRef": {"name": "iacq", "key": "IACQ_DATABASE_URL"}}
    assert found["IACQ_HEARTBEAT"] == "1.0"
    assert found["IACQ_DISK_CAP"] == str(5 * 2**30), "half of the volume: a pod that fills it is evicted"
    volumes = {volume["name"]: volume["emptyDir"] for volume in spec["volumes"]}
    assert volumes == {"work": {"sizeLimit": "10Gi"}, "tmp": {}}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/var/lib/iacq", "/tmp"}


def test_a_template_is_merged_field_by_field() -> None:
    made = built(
        """
        apiVersion: v1
        kind: Pod
        environment: {REGION: eu}
        metadata:
          labels: {team: network}
          annotations: {example.org/cost: "17"}
        spec:
          serviceAccountName: cloud
          nodeSelector: {disk: fast}
          tolerations: [{key: spot, operator: Exists}]
          securityContext: {fsGroup: 2000}
          containers:
          - name: worker
            image: mine:2
            env: [{name: IACQ_HEARTBEAT, value: 2s}, {name: TOKEN, valueFrom: {secretKeyRef: {name: t, key: k}}}]
            resources: {limits: {memory: 512Mi}}
            securityContext: {runAsUser: 1000}
            volumeMounts: [{name: ca, mountPath: /etc/ca, readOnly: true}]
          - {name: proxy, image: "proxy:1"}
          volumes:
          - {name: work, emptyDir: {sizeLimit: 40Gi}}
          - {name: ca, configMap: {name: ca}}
          - {name: providers, persistentVolumeClaim: {claimName: providers}}
        """
    )
    spec, container = made["spec"], worker(made)
    assert [one["key"] for one in spec["tolerations"]] == [
        "spot",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    assert made["metadata"]["labels"]["team"] == "network"
    assert made["metadata"]["labels"]["iacq/pool"] == "default"
    assert "automountServiceAccountToken" not in spec, "an account of its own is there to be used"
    assert spec["securityContext"]["fsGroup"] == 2000
    assert spec["securityContext"]["runAsNonRoot"]
    assert [one["name"] for one in spec["containers"]] == ["worker", "proxy"]
    assert container["image"] == "mine:2"
    assert container["resources"] == {"limits": {"memory": "512Mi"}}, "a default request might be above it"
    assert container["securityContext"]["runAsUser"] == 1000
    assert container["securityContext"]["readOnlyRootFilesystem"]
    found = environment(made)
    assert (found["IACQ_HEARTBEAT"], found["REGION"], found["TOKEN"]) == (
        "2s",
        "eu",
        {"secretKeyRef": {"name": "t", "key": "k"}},
    )
    assert found["IACQ_DISK_CAP"] == str(20 * 2**30)
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["ca"] == "/etc/ca"
    assert mounts["providers"] == found["IACQ_PROVIDER_MIRROR"]


def of_worker(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "worker", **fields}]}}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"kind": "Deployment"}, "no pod: its kind is 'Deployment'"),
        ({"apiVersion": "apps/v1"}, "no pod: its apiVersion"),
        ({"data": {}}, "no field 'data'"),
        ([], "--template"),
        ({"spec": []}, "--template spec is an object"),
        ({"metadata": {"name": "x"}}, "metadata.name"),
        ({"metadata": {"labels": {"a": 1}}}, "metadata.labels.a"),
        ({"metadata": {"labels": {"iacq/pool": "other"}}}, "sets metadata.labels.iacq/pool"),
        ({"metadata": {"annotations": {pod_manifest.SAFE_TO_EVICT: "true"}}}, "sets metadata.annotations"),
        ({"spec": {"restartPolicy": "Always"}}, "sets spec.restartPolicy"),
        ({"spec": {"terminationGracePeriodSeconds": 5}}, "sets spec.terminationGracePeriodSeconds"),
        ({"spec": {"activeDeadlineSeconds": 60}}, "would end an apply"),
        ({"spec": {"shareProcessNamespace": True}}, "sets spec.shareProcessNamespace"),
        ({"spec": {"automountServiceAccountToken": True}}, "sets spec.automountServiceAccountToken"),
        ({"spec": {"securityContext": {"runAsNonRoot": False}}}, "sets spec.securityContext.runAsNonRoot"),
        ({"spec": {"containers": {}}}, "spec.containers in the template is a list"),
        ({"spec": {"containers": [{"image": "x"}]}}, r"spec.containers\[0\].name"),
        ({"spec": {"containers": [{"name": "worker"}, {"name": "worker"}]}}, "two spec.containers with"),
        ({"spec": {"volumes": [{"name": "work", "hostPath": {"path": "/"}}]}}, r"sets spec.volumes\[work\].hostPath"),
        (of_worker(command=["sh"]), r"sets spec.containers\[worker\].command"),
        (of_worker(args=["--slots", "9"]), r"sets spec.containers\[worker\].args"),
        (of_worker(livenessProbe={}), "would end an apply"),
        (of_worker(startupProbe={}), "could end an agent"),
        (of_worker(lifecycle={}), "lifecycle"),
        (of_worker(env=[{"name": "POOL_ID", "value": "x"}]), r"sets spec.containers\[worker\].env\[POOL_ID\]"),
        (of_worker(env=[{"name": "IACQ_ENCRYPTION_KEYS", "value": "x"}]), "IACQ_ENCRYPTION_KEYS"),
        (of_worker(env=[{"name": "A"}, {"name": "A"}]), "two spec.containers"),
        (of_worker(securityContext={"privileged": True}), "securityContext.privileged"),
        (of_worker(securityContext={"runAsUser": 0}), "do not run as root"),
        (of_worker(securityContext={"readOnlyRootFilesystem": False}), "readOnlyRootFilesystem"),
        (of_worker(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}), "capabilities.add"),
        (of_worker(volumeMounts=[{"name": "x", "mountPath": "/var/lib/iacq"}]), r"volumeMounts\[/var/lib/iacq\]"),
    ],
)  # fmt: skip
def test_what_is_no_part_of_a_pod_or_what_iacq_sets_is_refused_by_its_name(template: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        pod_template.parse(json.dumps(template))
    assert "--template" in (refused.value.field or "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spec: [", "neither YAML nor JSON"),
        ("a: &a [x, x]\nb: [*a, *a]", "aliases"),
        ("metadata: {labels: {a: b, a: c}}", "a is there twice"),
        ("environment: {A: 2020-01-01}", "JSON"),
        ("environment: {A: yes}", "text, not true or false"),
        ("--- {}\n--- {}", "neither YAML nor JSON"),
        ("!!python/object/apply:os.system [id]", "neither YAML nor JSON"),
        ("[" * 1200, "neither YAML nor JSON"),
        ("x" * 70000, "more than 65536"),
    ],
)  # fmt: skip
def test_text_that_is_no_template(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        pod_template.parse(text)


def test_without_an_image_nothing_is_built() -> None:
    with pytest.raises(InvalidInput, match="no image") as refused:
        built(image=None)
    assert refused.value.field == "IACQ_POD_IMAGE"
    assert worker(built('{"spec": {"containers": [{"name": "worker", "image": "i"}]}}', image=None))["image"] == "i"


def test_a_pool_whose_name_is_no_label_has_one_all_the_same() -> None:
    made = built(pool="builders_")
    assert made["metadata"]["labels"]["iacq/pool"] == "builders"
    assert environment(made)["POOL_ID"] == "builders_"
