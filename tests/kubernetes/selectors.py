"""Label and field selectors, as a query string has them."""

import re
from collections.abc import Callable
from typing import Any

from tests.kubernetes.problems import ApiError

Object = dict[str, Any]
_SET = re.compile(r"(?P<key>[^\s!=,()]+)\s+(?P<how>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUALS = re.compile(r"(?P<key>[^\s!=,()]+)\s*(?P<how>==|=|!=)\s*(?P<value>[^\s!=,()]*)")
_EXISTS = re.compile(r"(?P<not>!?)\s*(?P<key>[^\s!=,()]+)")
_FIELDS = ("metadata.name", "metadata.namespace", "spec.nodeName", "spec.restartPolicy", "status.phase")


def make(labels: str, fields: str) -> Callable[[Object], bool]:
    """Return what tells whether an object is selected. Raises ApiError (400)."""
    wanted = [_label(part.strip()) for part in _split(labels)]
    also = [_field(part.strip()) for part in fields.split(",") if part.strip()]
    return lambda it: (
        all(fits(it["metadata"].get("labels") or {}) for fits in wanted) and all(fits(it) for fits in also)
    )


def _split(labels: str) -> list[str]:
    return [part for part in re.split(r",(?![^(]*\))", labels) if part.strip()]


def _label(part: str) -> Callable[[dict[str, str]], bool]:
    if found := _SET.fullmatch(part):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["how"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUALS.fullmatch(part):
        key, value, differs = found["key"], found["value"], found["how"] == "!="
        return lambda labels: (labels.get(key) == value) is not differs
    if found := _EXISTS.fullmatch(part):
        key, absent = found["key"], bool(found["not"])
        return lambda labels: (key in labels) is not absent
    raise ApiError(400, f"unable to parse requirement: {part!r}")


def _field(part: str) -> Callable[[Object], bool]:
    found = _EQUALS.fullmatch(part)
    if found is None or found["key"] not in _FIELDS:
        raise ApiError(400, f"field label not supported: {part}")
    first, second = found["key"].split(".")
    value, differs = found["value"], found["how"] == "!="
    return lambda it: ((it.get(first, {}).get(second) or "") == value) is not differs
