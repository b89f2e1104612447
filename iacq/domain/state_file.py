"""A terraform state, format 4 (terraform since 0.12, tofu): what is in it, and which may follow which."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from iacq.errors import InvalidInput

_FORMAT = 4
_HCL_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output value of a root module."""

    value: Any = field(repr=False)  # in clear, also if sensitive
    type: Any  # as terraform writes it: "string", ["list", "string"], …
    sensitive: bool


@dataclass(frozen=True, kw_only=True)
class StateFile:
    """A state, read."""

    lineage: str  # made with the first state, kept by all that follow; empty in some that people wrote
    serial: int  # grows with each change
    resources: tuple[str, ...]  # address of each instance, as `terraform state list` shows; data sources included
    outputs: Mapping[str, Output]
    terraform_version: str  # that wrote it
    sha256: str  # of the bytes, hex

    @property
    def managed(self) -> tuple[str, ...]:
        """Addresses without data sources: what exists because of this state."""
        return tuple(address for address in self.resources if not _is_data(address))


def read(data: bytes) -> StateFile | None:
    """Read a terraform.tfstate. Nothing or blanks: there is no state; a killed terraform may leave that.

    Raises InvalidInput(code=bad_state): not JSON, not format 4.
    """
    if not data.strip():
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad(f"it is not JSON ({error})") from error
    if not isinstance(document, dict) or "version" not in document:
        raise _bad("it has no format version")
    version = document["version"]
    if version != _FORMAT:
        hint = "run `terraform apply -refresh-only` with terraform 0.13 or later" if version in (1, 2, 3) else None
        raise _bad(f"its format is {version!r}, not {_FORMAT}", hint=hint)
    try:
        return StateFile(
            lineage=str(document.get("lineage") or ""),
            serial=_serial(document.get("serial", 0)),
            resources=tuple(_addresses(document.get("resources") or [])),
            outputs={name: _output(value) for name, value in (document.get("outputs") or {}).items()},
            terraform_version=str(document.get("terraform_version") or ""),
            sha256=hashlib.sha256(data).hexdigest(),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise _bad(f"something in it is not as terraform writes it ({type(error).__name__}: {error})") from error


def _addresses(resources: list[Any]) -> Iterator[str]:
    for resource in resources:
        module = f"{resource['module']}." if resource.get("module") else ""
        data = "data." if resource.get("mode") == "data" else ""
        address = f"{module}{data}{resource['type']}.{resource['name']}"
        for instance in resource.get("instances") or []:
            deposed = f" (deposed {instance['deposed']})" if instance.get("deposed") else ""
            yield f"{address}{_index(instance.get('index_key'))}{deposed}"


def _index(key: str | int | None) -> str:
    if key is None:
        return ""
    if not isinstance(key, str):
        return f"[{key}]"
    text = "".join(_HCL_ESCAPES.get(letter, letter) for letter in key)
    return '["' + text.replace("${", "$${").replace("%{", "%%{") + '"]'


def _is_data(address: str) -> bool:
    """Tell whether an address is that of a data source. Keys in brackets may hold anything."""
    rest = address
    while rest.startswith("module."):
        rest = _after_step(rest.removeprefix("module."))
    return rest.startswith("data.")


def _after_step(text: str) -> str:
    """Skip a module's name and its key: `a["x.y"].data.b.c` → `data.b.c`."""
    quoted = False
    at = 0
    while at < len(text):
        letter = text[at]
        if quoted and letter == "\\":
            at += 1
        elif letter == '"':
            quoted = not quoted
        elif letter == "." and not quoted:
            return text[at + 1 :]
        at += 1
    return ""


def _output(value: Mapping[str, Any]) -> Output:
    return Output(value=value["value"], type=value.get("type"), sensitive=bool(value.get("sensitive")))


def _serial(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("serial is not a number")
    return value


def _bad(why: str, *, hint: str | None = None) -> InvalidInput:
    return InvalidInput(f"the state cannot be read: {why}", code="bad_state", hint=hint)
