"""Manifests compared with the models of the official client: unknown fields, wrong types and lacking ones are found."""

from typing import Any

import pydantic
from kubernetes.client import models

_VERSIONS = {"v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1"}


def faults(manifest: Any) -> list[str]:
    """Say what is wrong with a manifest, each with its path."""
    kind, version = manifest.get("kind"), manifest.get("apiVersion")
    if version not in _VERSIONS or not hasattr(models, f"V1{kind}"):
        return [f"{version} {kind}: no such kind"]
    if kind == "Secret":  # the client wants bytes where JSON has base64
        manifest = {**manifest, "data": {}}
    try:
        getattr(models, f"V1{kind}").model_validate(manifest, strict=True)
    except pydantic.ValidationError as error:
        return [f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()]
    return []
