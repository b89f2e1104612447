"""What a pod must look like: names, labels, and what belongs together. Returns `field: what is wrong`."""

import re
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_QUANTITY = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?")
_ANNOTATIONS = 256 * 1024


def find_faults(pod: Object) -> list[str]:
    return [*_metadata(pod["metadata"]), *_spec(pod.get("spec") or {})]


def is_label(text: object) -> bool:
    return isinstance(text, str) and len(text) <= 63 and bool(_LABEL.fullmatch(text))


def _metadata(metadata: Object) -> Iterator[str]:
    name = metadata.get("name")
    if not name:
        yield "metadata.name: Required value: name or generateName is required"
    elif len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        yield f'metadata.name: Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case …'
    for key, value in (metadata.get("labels") or {}).items():
        yield from _key("metadata.labels", key)
        if len(value) > 63 or not (value == "" or _QUALIFIED.fullmatch(value)):
            yield f'metadata.labels: Invalid value: "{value}": a valid label must be an empty string or consist of …'
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        yield from _key("metadata.annotations", key.lower())
    if sum(len(key) + len(value) for key, value in annotations.items()) > _ANNOTATIONS:
        yield "metadata.annotations: Too long: may not be more than 262144 bytes"
    for at, owner in enumerate(metadata.get("ownerReferences") or []):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield f"metadata.ownerReferences[{at}].{field}: Required value"


def _key(where: str, key: str) -> Iterator[str]:
    prefix, _, name = key.rpartition("/")
    right = len(name) <= 63 and _QUALIFIED.fullmatch(name) and (not prefix or _SUBDOMAIN.fullmatch(prefix))
    if not right or len(prefix) > 253 or ("/" in key and not prefix):
        yield f'{where}: Invalid value: "{key}": name part must consist of alphanumeric characters …'


def _spec(spec: Object) -> Iterator[str]:
    if not spec.get("containers"):
        yield "spec.containers: Required value"
    if spec.get("restartPolicy", "Always") not in ("Always", "OnFailure", "Never"):
        yield f'spec.restartPolicy: Unsupported value: "{spec["restartPolicy"]}"'
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        yield f"spec.terminationGracePeriodSeconds: Invalid value: {spec['terminationGracePeriodSeconds']}"
    volumes = [volume.get("name") for volume in spec.get("volumes") or []]
    yield from _names("spec.volumes", volumes)
    for at, volume in enumerate(spec.get("volumes") or []):
        if len(volume) > 2:
            yield f"spec.volumes[{at}]: Forbidden: may not specify more than 1 volume type"
        yield from _quantity(f"spec.volumes[{at}].emptyDir.sizeLimit", (volume.get("emptyDir") or {}).get("sizeLimit"))
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    yield from _names("spec.containers", [container.get("name") for container in containers])
    for at, container in enumerate(containers):
        yield from _container(f"spec.containers[{at}]", container, volumes)


def _names(where: str, names: list[Any]) -> Iterator[str]:
    for at, name in enumerate(names):
        if not is_label(name):
            yield f'{where}[{at}].name: Invalid value: "{name}": a lowercase RFC 1123 label must consist of …'
        elif name in names[:at]:
            yield f'{where}[{at}].name: Duplicate value: "{name}"'


def _container(where: str, container: Object, volumes: list[Any]) -> Iterator[str]:
    if not container.get("image"):
        yield f"{where}.image: Required value"
    for at, one in enumerate(container.get("env") or []):
        name, source = one.get("name"), one.get("valueFrom")
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            yield f'{where}.env[{at}].name: Invalid value: "{name}": a valid environment variable name must …'
        if source is not None and (one.get("value") or len(source) != 1):
            yield f"{where}.env[{at}].valueFrom: Invalid value: may not have more than one field specified at a time"
    paths: list[str] = []
    for at, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") not in volumes:
            yield f'{where}.volumeMounts[{at}].name: Not found: "{mount.get("name")}"'
        if mount.get("mountPath") in paths or not mount.get("mountPath"):
            yield f'{where}.volumeMounts[{at}].mountPath: Invalid value: "{mount.get("mountPath")}": must be unique'
        paths.append(mount.get("mountPath", ""))
    for kind, amounts in (container.get("resources") or {}).items():
        for name, amount in (amounts or {}).items():
            yield from _quantity(f"{where}.resources.{kind}[{name}]", amount)


def _quantity(where: str, amount: object) -> Iterator[str]:
    if amount is not None and not _QUANTITY.fullmatch(str(amount)):
        yield f'{where}: Invalid value: "{amount}": quantities must match the regular expression …'
