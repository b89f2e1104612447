"""What the service account may do, asked of the cluster itself."""

from __future__ import annotations

from dataclasses import dataclass

from iacq.adapters.kubernetes.api import KubernetesApi, Refused
from iacq.errors import Unavailable

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, kw_only=True)
class Right:
    """One rule of a Role."""

    verb: str
    resource: str
    group: str = ""  # the core one
    name: str = ""  # of the one object that is meant; a rule may name it

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


NEEDED = (
    Right(verb="get", resource="namespaces"),
    *(Right(verb=verb, resource="pods") for verb in ("get", "list", "watch", "create", "delete", "patch")),
)
"""What the runtime calls."""
OF_OWNER = Right(verb="get", resource="deployments", group="apps")
"""What it calls beside that if IACQ_POD_OWNER is set."""


def find_missing(api: KubernetesApi, rights: tuple[Right, ...]) -> list[Right]:
    """Return the rights that are lacking in the namespace. Raises Unavailable."""
    return [right for right in rights if not _has(api, right)]


def _has(api: KubernetesApi, right: Right) -> bool:
    asked = {"namespace": api.namespace, "verb": right.verb, "resource": right.resource, "group": right.group}
    if right.name:
        asked["name"] = right.name
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    try:
        return bool(api.call("POST", _REVIEWS, body=review).body["status"]["allowed"])
    except Refused as error:
        raise Unavailable(f"the cluster does not say what iacq may do: {error.message}") from error
