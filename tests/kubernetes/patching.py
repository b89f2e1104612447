"""The three kinds of patch that clients send."""

import copy
from typing import Any

from tests.kubernetes.problems import ApiError

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "conditions": "type",
    "ownerReferences": "uid",
    "imagePullSecrets": "name",
    "containerStatuses": "name",
}
"""By what a strategic merge tells the items of a list apart; other lists are replaced."""


def apply(kind: str, target: Any, patch: Any) -> Any:
    """Return the patched object. kind: the content type. Raises ApiError."""
    target = copy.deepcopy(target)
    if kind == "application/merge-patch+json":
        return _merge(target, patch)
    if kind == "application/strategic-merge-patch+json":
        return _merge(target, patch, strategic=True)
    if kind == "application/json-patch+json":
        for operation in patch:
            _operate(target, operation)
        return target
    raise ApiError(415, f"the body of the request was in an unknown format: {kind}")


def _merge(target: Any, patch: Any, *, strategic: bool = False) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = target if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif strategic and isinstance(value, list) and name in _MERGE_KEYS:
            result[name] = _merge_list(result.get(name) or [], value, _MERGE_KEYS[name])
        else:
            result[name] = _merge(result.get(name), value, strategic=strategic)
    return result


def _merge_list(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    result = {item[key]: item for item in target}
    for item in patch:
        if item.get("$patch") == "delete":
            result.pop(item[key], None)
        else:
            result[item[key]] = _merge(result.get(item[key]), item, strategic=True)
    return list(result.values())


def _operate(target: Any, operation: dict[str, Any]) -> None:
    parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    try:
        for part in parts[:-1]:
            target = target[int(part)] if isinstance(target, list) else target[part]
        name: Any = int(parts[-1]) if isinstance(target, list) and parts[-1] != "-" else parts[-1]
        if operation["op"] == "test":
            _compare(target[name], operation["value"])
        elif operation["op"] == "remove":
            del target[name]
        elif isinstance(target, list) and operation["op"] == "add":
            target.insert(len(target) if name == "-" else name, operation["value"])
        elif operation["op"] in ("add", "replace"):
            target[name] = operation["value"]
        else:
            raise ApiError(400, f"unsupported operation {operation['op']}")
    except (KeyError, IndexError, TypeError) as error:
        raise ApiError(422, f"the server rejected our request due to an error in our request: {error}") from error


def _compare(there: Any, wanted: Any) -> None:
    if there != wanted:
        raise ApiError(422, f"testing value {wanted!r} failed")
