"""What the API does with pods: defaults, what may not be changed, and how they go."""

import copy
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from tests.kubernetes import patching, problems, schema, validation
from tests.kubernetes.problems import ApiError
from tests.kubernetes.storage import Key, Object, Storage, now, stamp

ENDED = ("Succeeded", "Failed")
_FIXED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName")

_MAY_CHANGE = (
    "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations`"
)


class Pods:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.service_accounts = {"default"}

    def create(self, namespace: str, given: Any, options: Mapping[str, str]) -> Object:
        schema.check("Pod", given, strict=options.get("fieldValidation") == "Strict")
        if self._storage.find(Key(resource="namespaces", namespace="", name=namespace)) is None:
            raise problems.not_found("namespaces", namespace)
        pod = self._with_defaults(namespace, given)
        name = pod["metadata"].get("name") or ""
        if faults := validation.find_faults(pod):
            raise problems.invalid("Pod", name, faults)
        account = pod["spec"]["serviceAccountName"]
        if account not in self.service_accounts:
            raise ApiError(
                403,
                f'pods "{name}" is forbidden: error looking up service account {namespace}/{account}: '
                f'serviceaccount "{account}" not found',
            )
        key = Key(resource="pods", namespace=namespace, name=name)
        if "dryRun" not in options:
            return self._storage.create(key, pod)
        if self._storage.find(key) is not None:
            raise problems.already_exists("pods", name)
        return stamp(pod)

    def _with_defaults(self, namespace: str, given: Object) -> Object:
        pod: Object = copy.deepcopy(given)
        metadata = pod.setdefault("metadata", {})
        if metadata.get("namespace", namespace) != namespace:
            raise ApiError(400, "the namespace of the provided object does not match the namespace sent on the request")
        if metadata.get("resourceVersion"):
            raise ApiError(400, "resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + secrets.token_hex(3)[:5]
        metadata["namespace"] = namespace
        spec = pod.setdefault("spec", {})
        spec.setdefault("restartPolicy", "Always")
        spec.setdefault("terminationGracePeriodSeconds", 30)
        spec["serviceAccountName"] = spec.get("serviceAccountName") or "default"
        spec.setdefault("schedulerName", "default-scheduler")
        spec.setdefault("dnsPolicy", "ClusterFirst")
        spec.setdefault("enableServiceLinks", True)
        for container in spec.get("containers") or []:
            container.setdefault("terminationMessagePath", "/dev/termination-log")
            container.setdefault("terminationMessagePolicy", "File")
            container.setdefault("imagePullPolicy", "IfNotPresent")
            container.setdefault("resources", {})
        pod |= {"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Pending", "qosClass": "Burstable"}}
        return pod

    def replace(self, key: Key, given: Any, options: Mapping[str, str], *, status: bool = False) -> Object:
        schema.check("Pod", given, strict=options.get("fieldValidation") == "Strict")
        return self._change(key, lambda _: given, options, status=status)

    def patch(self, key: Key, kind: str, patch: Any, options: Mapping[str, str], *, status: bool = False) -> Object:
        return self._change(key, lambda old: patching.apply(kind, old, patch), options, status=status)

    def _change(self, key: Key, change: Callable[[Object], Any], options: Mapping[str, str], *, status: bool) -> Object:
        def checked(old: Object) -> Object:
            new = change(old)
            _check_identity(key, old, new)
            if status:
                return {**old, "status": new.get("status") or {}}
            new = {**new, "status": old["status"], "metadata": {**new["metadata"], **_fixed(old)}}
            schema.check("Pod", new, strict=False)
            _check_unchanged(key, old, new)
            return new

        if "dryRun" in options:
            return checked(self._storage.get(key))
        return self._storage.change(key, checked)

    def delete(self, key: Key, options: Object, *, dry_run: bool = False) -> Object:
        """Delete at once what runs nowhere, or let the kubelet end it: it is gone when that says so."""
        pod = self._storage.get(key)
        _check_preconditions(key, pod, options.get("preconditions") or {})
        if dry_run:
            return pod
        grace = options.get("gracePeriodSeconds")
        if grace is None:
            grace = pod["spec"]["terminationGracePeriodSeconds"]
        if not pod["spec"].get("nodeName") or pod["status"]["phase"] in ENDED:
            grace = 0
        if grace == 0:
            return self._storage.remove(key, uid=pod["metadata"]["uid"])

        def let_go(found: Object) -> Object:
            if found["metadata"]["uid"] != pod["metadata"]["uid"]:
                raise problems.not_found("pods", key.name)
            if grace < found["metadata"].get("deletionGracePeriodSeconds", grace + 1):
                found["metadata"] |= {"deletionTimestamp": now(grace), "deletionGracePeriodSeconds": grace}
            return found

        return self._storage.change(key, let_go)


def _fixed(old: Object) -> Object:
    return {name: old["metadata"][name] for name in _FIXED if name in old["metadata"]}


def _check_identity(key: Key, old: Object, new: Any) -> None:
    metadata = new.get("metadata") or {}
    if metadata.get("name", key.name) != key.name or metadata.get("namespace", key.namespace) != key.namespace:
        raise ApiError(
            400,
            f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({key.name})",
        )
    if metadata.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
        raise ApiError(
            409,
            f'Operation cannot be fulfilled on pods "{key.name}": Precondition failed: UID in precondition: '
            f"{metadata['uid']}, UID in object meta: {old['metadata']['uid']}",
        )
    if metadata.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
        raise problems.conflict("pods", key.name)


def _check_unchanged(key: Key, old: Object, new: Object) -> None:
    if faults := validation.find_faults(new):
        raise problems.invalid("Pod", key.name, faults)
    if _fixed_spec(old) != _fixed_spec(new):
        raise problems.invalid(
            "Pod",
            key.name,
            [_MAY_CHANGE],
        )


def _fixed_spec(pod: Object) -> Object:
    spec: Object = copy.deepcopy(pod["spec"])
    for container in [*spec.get("containers", []), *spec.get("initContainers", [])]:
        container.pop("image", None)
    return {name: value for name, value in spec.items() if name not in ("activeDeadlineSeconds", "tolerations")}


def _check_preconditions(key: Key, pod: Object, wanted: Mapping[str, str]) -> None:
    for name, field in (("UID", "uid"), ("ResourceVersion", "resourceVersion")):
        there = pod["metadata"][field]
        if wanted.get(field, there) != there:
            raise ApiError(
                409,
                f'Operation cannot be fulfilled on pods "{key.name}": Precondition failed: {name} in precondition: '
                f"{wanted[field]}, {name} in object meta: {there}",
            )
