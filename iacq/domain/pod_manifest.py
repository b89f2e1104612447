"""The manifest of a worker pod: what iacq must set, merged field by field with what a pool's template says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from iacq.errors import InvalidInput

FIELD = "--template"
ENVIRONMENT = "environment"
OF_POD = ("metadata", "spec")
"""What of a template is of a Pod."""
WORKER = "worker"
"""Name of the container in which the agent runs."""
POOL_LABEL = "iacq/pool"
GENERATION_LABEL = "iacq/generation"
LABELS = {"app.kubernetes.io/name": "iacq-worker", "app.kubernetes.io/managed-by": "iacq"}
"""What every pod has that iacq made."""
SYSTEM_LABEL = "app.kubernetes.io/instance"
"""Which of several systems of iacq in one namespace a pod belongs to."""
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"

_WORK = "/var/lib/iacq"
_PROVIDERS = "/var/lib/iacq-providers"
_PROVIDERS_VOLUME = "providers"
_WORK_LIMIT = "10Gi"
_CUT_OFF = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
"""Taints of a node that does not answer."""

_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
}
"""Lists whose entries are merged by this field; any other list is one value."""
_WHOLE = ("env", "volumeMounts")
"""Lists whose entries are one value each."""
_QUANTITY = re.compile(r"(\d+)(Ki|Mi|Gi|Ti|k|M|G|T)?")
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

Settle = Callable[[Any, Any, str], Any]


@dataclass(frozen=True, kw_only=True)
class WorkerPod:
    """What iacq says about one pod."""

    name: str
    namespace: str
    system: str  # which one in this namespace
    pool: str
    slots: int
    generation: int
    image: str | None  # None: the template must name one
    secret: str  # name of the Secret with addresses and keys
    secret_variables: Sequence[str]  # its entries that the agent gets, under the same names
    environment: Mapping[str, str] = field(default_factory=dict)  # settings that the template may change
    grace: int  # seconds from SIGTERM to SIGKILL
    owner: Mapping[str, str] | None = None  # apiVersion, kind, name, uid; None: nobody


def build(pod: WorkerPod, template: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the manifest. template: as `pod_template.check` returned it.

    Raises InvalidInput that names the field which iacq sets itself, or that is lacking.
    """
    given = template or {}
    of_agent = {**pod.environment, **given.get(ENVIRONMENT, {})}
    own = {name: given[name] for name in OF_POD if name in given}
    spec = own.get("spec", {})
    _refuse_other_kinds(spec.get("volumes", ()))
    merged = _merge(_defaults(pod, of_agent, spec), own, "", _theirs)
    _complete(merged["spec"])
    manifest = _merge(_required(pod, spec), merged, "", _ours)
    if not _worker_of(manifest["spec"]).get("image"):
        raise InvalidInput(
            f"no image is given for the pods of pool {pod.pool}",
            field="IACQ_POD_IMAGE",
            hint=f"set IACQ_POD_IMAGE, or spec.containers[{WORKER}].image in the template of the pool",
        )
    return {"apiVersion": "v1", "kind": "Pod", **manifest}


def _required(pod: WorkerPod, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a template cannot change."""
    metadata: dict[str, Any] = {
        "name": pod.name,
        "namespace": pod.namespace,
        "labels": {
            **LABELS,
            SYSTEM_LABEL: pod.system,
            POOL_LABEL: _label(pod.pool),
            GENERATION_LABEL: str(pod.generation),
        },
        "annotations": {SAFE_TO_EVICT: "false", POOL_LABEL: pod.pool},
    }
    if pod.owner is not None:
        metadata["ownerReferences"] = [dict(pod.owner)]
    of_pod: dict[str, Any] = {
        # A container that ended is proof that nothing of it is alive; one that starts again would be another agent.
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": pod.grace,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_worker(pod)],
        "volumes": [{"name": "work", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    if not spec.get("serviceAccountName"):
        of_pod["automountServiceAccountToken"] = False
    return {"metadata": metadata, "spec": of_pod}


def _worker(pod: WorkerPod) -> dict[str, Any]:
    secrets = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": pod.secret, "key": name}}}
        for name in pod.secret_variables
    ]
    return {
        "name": WORKER,
        # The first process of the container: a shell above it would keep the keys in a readable environment.
        "command": ["python", "-P", "-m", "workers.agent"],
        "args": ["--slots", str(pod.slots), "--managed"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POOL_ID", "value": pod.pool},
            {"name": "IACQ_HOME", "value": f"{_WORK}/home"},
            *secrets,
        ],
        "securityContext": {
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"mountPath": _WORK, "name": "work"}, {"mountPath": "/tmp", "name": "tmp"}],  # noqa: S108 - of a container of its own
    }


def _defaults(pod: WorkerPod, environment: Mapping[str, str], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a template may change."""
    worker: dict[str, Any] = {
        "name": WORKER,
        "terminationMessagePolicy": "FallbackToLogsOnError",  # else nobody says why an agent ended
        "env": [{"name": name, "value": value} for name, value in sorted({"HOME": _WORK, **environment}.items())],
    }
    if pod.image is not None:
        worker["image"] = pod.image
    if "resources" not in _worker_of(spec):  # a default request may be above a given limit
        worker["resources"] = {
            "requests": {"cpu": "500m", "memory": f"{max(1024, 256 + 256 * pod.slots)}Mi"},
            "limits": {"memory": f"{max(4, 1 + pod.slots)}Gi"},
        }
    volumes = [{"name": "work", "emptyDir": {"sizeLimit": _WORK_LIMIT}}, {"name": "tmp", "emptyDir": {}}]
    return {"metadata": {}, "spec": {"enableServiceLinks": False, "containers": [worker], "volumes": volumes}}


def _complete(spec: dict[str, Any]) -> None:
    """Add what follows from what the template said."""
    worker = _worker_of(spec)
    given = {entry["name"] for entry in worker["env"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    # A pod that fills its volume is evicted, whatever runs in it: iacq makes room before that.
    limit = _bytes((volumes["work"]["emptyDir"] or {}).get("sizeLimit"))
    if limit is not None and "IACQ_DISK_CAP" not in given:
        worker["env"].append({"name": "IACQ_DISK_CAP", "value": str(limit // 2)})
    # A machine that is cut off for some minutes goes on: the cluster would tell its pods to stop once it is back.
    tolerated = {entry.get("key") for entry in spec.get("tolerations", ())}
    spec["tolerations"] = [
        *spec.get("tolerations", ()),
        *({"key": key, "operator": "Exists", "effect": "NoExecute"} for key in _CUT_OFF if key not in tolerated),
    ]
    if _PROVIDERS_VOLUME in volumes:
        mounts = worker.get("volumeMounts", [])
        if not any(mount.get("name") == _PROVIDERS_VOLUME for mount in mounts):
            worker["volumeMounts"] = [*mounts, {"name": _PROVIDERS_VOLUME, "mountPath": _PROVIDERS}]
            worker["env"].append({"name": "IACQ_PROVIDER_MIRROR", "value": _PROVIDERS})


def _refuse_other_kinds(volumes: Sequence[Mapping[str, Any]]) -> None:
    for volume in volumes:
        other = sorted(volume.keys() - {"name", "emptyDir"})
        if volume["name"] in ("work", "tmp") and other:
            raise refused(f"spec.volumes[{volume['name']}].{other[0]}", "iacq's own volumes are emptyDir")


def _theirs(_ours: Any, theirs: Any, _path: str) -> Any:
    return theirs


def _ours(ours: Any, theirs: Any, path: str) -> Any:
    if ours != theirs:
        raise refused(path, "iacq sets it for every pod")
    return ours


def refused(path: str, why: str) -> InvalidInput:
    """Make the error for what a template may not set."""
    return InvalidInput(f"the template sets {path}: {why}", field=FIELD, hint=f"remove {path} from it")


def _merge(ours: Any, theirs: Any, path: str, settle: Settle) -> Any:
    """Merge two values; where both say something about the same field, `settle` says what holds."""
    name = path.rpartition(".")[2]
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping) and not _is_whole(path):
        both = {key: _merge(ours[key], theirs[key], _join(path, key), settle) for key in ours if key in theirs}
        return {**ours, **theirs, **both}
    if name in _KEYS and isinstance(ours, list) and isinstance(theirs, list):
        return _merge_entries(ours, theirs, path, settle)
    return settle(ours, theirs, path)


def _merge_entries(ours: list[Any], theirs: list[Any], path: str, settle: Settle) -> list[Any]:
    key = _KEYS[path.rpartition(".")[2]]
    mine = {entry[key]: entry for entry in ours}
    merged = {
        entry[key]: _merge(mine[entry[key]], entry, f"{path}[{entry[key]}]", settle) if entry[key] in mine else entry
        for entry in theirs
    }
    return list({**mine, **merged}.values())


def _is_whole(path: str) -> bool:
    return path.endswith("]") and path.rpartition("[")[0].rpartition(".")[2] in _WHOLE


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _worker_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next((one for one in spec.get("containers", ()) if one["name"] == WORKER), {})
    return found


def _label(pool: str) -> str:
    """Return a pool's name as the value of a label, which must end with a letter or digit."""
    return pool.rstrip("_-") or "pool"


def _bytes(quantity: object) -> int | None:
    found = _QUANTITY.fullmatch(quantity) if isinstance(quantity, str) else None
    return int(found[1]) * _UNITS.get(found[2] or "", 1) if found else None
