"""What a root module says about its state: which backend, if any."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from iacq.domain import hcl

_SUFFIX = re.compile(r"\.(tf|tofu)(\.json)?$")
_OVERRIDE = re.compile(r"(^|_)override$")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A root module, as far as iacq must know it before terraform reads it."""

    backend: str | None  # type of the declared backend; None: none is declared, state is local
    cloud: bool  # HCP Terraform or Terraform Enterprise runs the configuration


@dataclass(frozen=True, kw_only=True)
class _Declared:
    backend: str | None = None
    cloud: bool = False


def read(files: Mapping[str, str]) -> Configuration:
    """Read a root module: file name → text. Other files and those of subdirectories are ignored.

    `x.tofu` stands in for `x.tf`, as OpenTofu has it. An override file replaces what the others declare.
    Of two backends in ordinary files the first counts: terraform refuses them. Never raises on broken text.
    """
    names = [name for name in sorted(files) if _is_read(name, files)]
    found = _Declared()
    for name in names:
        if not _is_override(name):
            declared = _declared(name, files[name])
            found = _Declared(
                backend=found.backend if found.backend is not None else declared.backend,
                cloud=found.cloud or declared.cloud,
            )
    for name in filter(_is_override, names):
        declared = _declared(name, files[name])
        if declared != _Declared():  # backend and cloud replace each other
            found = declared
    return Configuration(backend=found.backend, cloud=found.cloud)


def _is_read(name: str, files: Mapping[str, str]) -> bool:
    suffix = _SUFFIX.search(name)
    if suffix is None or "/" in name or name.startswith((".", "#")):
        return False
    return suffix[1] == "tofu" or f"{name[: suffix.start()]}.tofu{suffix[2] or ''}" not in files


def _is_override(name: str) -> bool:
    return _OVERRIDE.search(_SUFFIX.sub("", name)) is not None


def _declared(name: str, text: str) -> _Declared:
    backend: str | None = None
    cloud = False
    for kind, label in _json_settings(text) if name.endswith(".json") else _settings(text):
        if kind == "cloud":
            cloud = True
        elif label is not None and backend is None:
            backend = label
    return _Declared(backend=backend, cloud=cloud)


def _settings(text: str) -> Iterator[tuple[str, str | None]]:
    for terraform in hcl.blocks(text.removeprefix("\ufeff"), "terraform"):
        for block in hcl.blocks(terraform.body, "backend", "cloud"):
            yield block.type, block.labels[0] if block.labels else None


def _json_settings(text: str) -> Iterator[tuple[str, str | None]]:
    try:
        document = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return
    for root in _objects(document):
        for terraform in _objects(root.get("terraform")):
            for backend in _objects(terraform.get("backend")):
                yield from (("backend", str(label)) for label in backend)
            if "cloud" in terraform:
                yield "cloud", None


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """JSON may write one block as an object, several as a list of objects."""
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, dict):
            yield entry
