"""The shape of the partial Pod in a template, and what may not be in it. What a cluster thinks of it, that tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iacq.domain import fields
from iacq.domain.pod_manifest import FIELD, WORKER, refused
from iacq.errors import InvalidInput

_METADATA = ("labels", "annotations")
_NAMED = ("containers", "initContainers", "volumes")
_NOT_OF_POD = {
    "activeDeadlineSeconds": "it would end an apply",
    "ephemeralContainers": "they are for people, in a pod that runs",
    "hostPID": "the agent must be the first process of its container",
    "shareProcessNamespace": "the agent must be the first process of its container",
}
_NOT_OF_WORKER = {
    "lifecycle": "iacq stops the agent itself, within IACQ_STOP_GRACE",
    "livenessProbe": "it would end an apply: the heartbeat tells whether an agent lives",
    "startupProbe": "it could end an agent that adopts an apply: IACQ_POD_START_TIMEOUT bounds the start",
    "restartPolicy": "a container that ended is proof that nothing of it lives",
    "restartPolicyRules": "a container that ended is proof that nothing of it lives",
    "workingDir": "iacq sets it",
}


def check(template: Mapping[str, Any]) -> None:
    """Raise InvalidInput that names the field unless this can be a part of a Pod."""
    metadata = _mapping(template.get("metadata", {}), "metadata")
    other = sorted(metadata.keys() - set(_METADATA))
    if other:
        raise refused(f"metadata.{other[0][:60]}", "of the metadata only labels and annotations are the template's")
    for name in _METADATA:
        for key, value in _mapping(metadata.get(name, {}), f"metadata.{name}").items():
            fields.text(value, f"{FIELD} metadata.{name}.{key}")
    _check_spec(_mapping(template.get("spec", {}), "spec"))


def _check_spec(spec: Mapping[str, Any]) -> None:
    for name, why in _NOT_OF_POD.items():
        if name in spec:
            raise refused(f"spec.{name}", why)
    for name in _NAMED:
        for entry in _named(spec.get(name, []), f"spec.{name}"):
            if name != "volumes":
                _check_lists(entry, f"spec.{name}[{entry['name']}]")
    _refuse_root(spec, "spec")
    for container in spec.get("containers", ()):
        if container["name"] == WORKER:
            _check_worker(container, f"spec.containers[{WORKER}]")


def _check_lists(container: Mapping[str, Any], path: str) -> None:
    _named(container.get("env", []), f"{path}.env")
    _named(container.get("volumeMounts", []), f"{path}.volumeMounts", key="mountPath")
    _mapping(container.get("securityContext", {}), f"{path}.securityContext")


def _check_worker(worker: Mapping[str, Any], path: str) -> None:
    for name, why in _NOT_OF_WORKER.items():
        if name in worker:
            raise refused(f"{path}.{name}", why)
    _refuse_root(worker, path)
    if _mapping(worker.get("securityContext", {}).get("capabilities", {}), f"{path}.capabilities").get("add"):
        raise refused(f"{path}.securityContext.capabilities.add", "terraform runs without capabilities")


def _refuse_root(holder: Mapping[str, Any], path: str) -> None:
    security = _mapping(holder.get("securityContext", {}), f"{path}.securityContext")
    if security.get("runAsUser") == 0:
        raise refused(f"{path}.securityContext.runAsUser", "agents do not run as root")


def _named(value: object, path: str, *, key: str = "name") -> list[Mapping[str, Any]]:
    """Return a list of objects that each have another name."""
    if not isinstance(value, list):
        raise InvalidInput(f"{path} in the template is a list", field=FIELD)
    entries = [_mapping(entry, f"{path}[{number}]") for number, entry in enumerate(value)]
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        name = fields.text(entry.get(key), f"{FIELD} {path}[{number}].{key}", longest=4096)
        if name in seen:
            raise InvalidInput(
                f"the template has two {path} with the {key} {name[:60]!a}", field=FIELD, hint="give each its own"
            )
        seen.add(name)
    return entries


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    return fields.mapping(value, f"{FIELD} {path}")
