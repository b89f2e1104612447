"""A request as it comes, and what its path means."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.kubernetes.problems import ApiError

_CORE = re.compile(
    r"/api/v1(?:/namespaces/(?P<namespace>[^/]+))?/(?P<resource>pods)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<subresource>status|eviction|log))?)?"
)
_NAMESPACES = re.compile(r"/api/v1/(?P<resource>namespaces)(?:/(?P<name>[^/]+))?")
_DEPLOYMENTS = re.compile(
    r"/apis/apps/v1/namespaces/(?P<namespace>[^/]+)/(?P<resource>deployments)(?:/(?P<name>[^/]+))?"
)
_REVIEWS = re.compile(r"/apis/authorization\.k8s\.io/v1/(?P<resource>selfsubjectaccessreviews)")
_PLAIN = re.compile(r"/(?P<resource>version|healthz|readyz|livez)/?")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    verb: str  # as in a Role
    resource: str
    namespace: str  # empty: of all, or of none
    name: str
    subresource: str
    query: Mapping[str, str]
    content_type: str
    body: bytes

    @property
    def needs_right(self) -> bool:
        return self.resource in ("pods", "namespaces", "deployments")

    @property
    def content(self) -> Any:
        """The body as JSON; None if there is none. Raises ApiError (400)."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ApiError(400, f"couldn't get version/kind; json parse error: {error}") from error

    def number(self, name: str) -> int | None:
        """Return a number of the query. Raises ApiError (400)."""
        text = self.query.get(name, "")
        if text and not text.isdecimal():
            raise ApiError(400, f"{name}: Invalid value: {text!r}")
        return int(text) if text else None


def read(method: str, target: str, content_type: str, body: bytes) -> Request:
    """Raises ApiError (404)."""
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    matches = (pattern.fullmatch(parts.path) for pattern in (_CORE, _NAMESPACES, _DEPLOYMENTS, _REVIEWS, _PLAIN))
    found = next((match.groupdict() for match in matches if match), None)
    if found is None:
        raise ApiError(404, "the server could not find the requested resource")
    name = unquote(found.get("name") or "")
    verb = _VERBS.get(method, "")
    if method == "GET":
        watching = query.get("watch") in ("1", "true", "True")
        verb = "get" if name else "watch" if watching else "list"
    elif method == "DELETE":
        verb = "delete" if name else "deletecollection"
    return Request(
        method=method,
        verb=verb,
        resource=found["resource"],
        # A namespace is in itself: a Role in it may grant reading it.
        namespace=found.get("namespace") or (name if found["resource"] == "namespaces" else ""),
        name=name,
        subresource=found.get("subresource") or "",
        query=query,
        content_type=content_type.partition(";")[0].strip(),
        body=body,
    )
