"""Types of fields, as the official client's models have them: an API server reads JSON into just these."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from kubernetes.client import models

from tests.kubernetes.problems import ApiError

_SIMPLE = {"str": str, "bool": bool, "int": int, "float": (int, float), "datetime": str, "object": object}


def check(kind: str, given: Any, *, strict: bool) -> None:
    """Raise ApiError (400) for a value of a wrong type, and if `strict` for a field that there is not."""
    if not isinstance(given, dict):
        raise ApiError(400, f"the object provided is unrecognized: it is no {kind}")
    unknown: list[str] = []
    for wrong in _look(f"V1{kind}", given, "", unknown):
        raise ApiError(400, f'{kind} in version "v1" cannot be handled as a {kind}: json: cannot unmarshal {wrong}')
    if unknown and strict:
        raise ApiError(400, "strict decoding error: " + ", ".join(f'unknown field "{field}"' for field in unknown))


def _look(kind: str, given: Any, where: str, unknown: list[str]) -> Iterator[str]:
    if given is None:
        return
    if kind.startswith(("List[", "Dict[")):
        inner = kind[5:-1]
        wanted: type = list if kind.startswith("List[") else dict
        if not isinstance(given, wanted):
            yield f"{type(given).__name__} into field {where} of type {kind}"
            return
        if wanted is list:
            items = list(enumerate(given))
        else:
            items, inner = list(given.items()), inner.partition(", ")[2]
        for at, item in items:
            yield from _look(inner, item, f"{where}[{at}]", unknown)
    elif kind in _SIMPLE:
        if not isinstance(given, _SIMPLE[kind]) or (kind in ("int", "float") and isinstance(given, bool)):
            yield f"{type(given).__name__} into field {where} of type {kind}"
        elif kind == "datetime":
            yield from _time(given, where)
    else:
        yield from _look_into(kind, given, where, unknown)


def _look_into(kind: str, given: Any, where: str, unknown: list[str]) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f"{type(given).__name__} into field {where} of type {kind}"
        return
    model = getattr(models, kind)
    types = {model.attribute_map[name]: inner for name, inner in model.openapi_types.items()}
    for name, value in given.items():
        path = f"{where}.{name}".lstrip(".")
        if name not in types:
            unknown.append(path)
        else:
            yield from _look(types[name], value, path, unknown)


def _time(given: str, where: str) -> Iterator[str]:
    try:
        dt.datetime.fromisoformat(given)
    except ValueError:
        yield f'string "{given}" into field {where} of type Time'
