"""What a request gets that is not a watch."""

import base64
import json
from typing import Any

from tests.kubernetes import selectors
from tests.kubernetes.access import Access
from tests.kubernetes.pods import Pods
from tests.kubernetes.problems import ApiError
from tests.kubernetes.requests import Request
from tests.kubernetes.storage import Key, Object, Storage

_KINDS = {"pods": "Pod", "namespaces": "Namespace", "deployments": "Deployment"}

_VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "2025-08-27T10:00:00Z",
    "goVersion": "go1.24",
    "compiler": "gc",
    "platform": "linux/amd64",
}


class Answers:
    def __init__(self, storage: Storage, access: Access) -> None:
        self.pods = Pods(storage)
        self._storage = storage
        self._access = access
        self._cache: dict[str, tuple[list[Object], int]] = {}

    def freeze_cache(self) -> None:
        """Answer lists with `resourceVersion=0` from now on with what there is now, as a cache that lags does."""
        self._cache = {resource: self._storage.list(resource, None) for resource in _KINDS}

    def answer(self, request: Request) -> tuple[int, Any]:
        """Return a code and an object. Raises ApiError."""
        if request.resource == "version":
            return 200, _VERSION
        if request.resource in ("healthz", "readyz", "livez"):
            return 200, "ok"
        if request.resource == "selfsubjectaccessreviews":
            return 201, self._access.review(request.content)
        key = Key(
            resource=request.resource,
            namespace="" if request.resource == "namespaces" else request.namespace,
            name=request.name,
        )
        if request.verb == "list":
            return 200, self._list(request)
        if request.verb == "get" and not request.subresource:
            return 200, self._storage.get(key)
        if request.resource == "pods":
            return self._write(request, key)
        raise ApiError(405, "the server does not allow this method on the requested resource")

    def _write(self, request: Request, key: Key) -> tuple[int, Any]:
        query, status = request.query, request.subresource == "status"
        if request.query.get("dryRun", "All") != "All":
            raise ApiError(422, f'dryRun: Unsupported value: "{query["dryRun"]}": supported values: "All"')
        if request.subresource == "eviction" and request.verb == "create":
            self.pods.delete(key, (request.content or {}).get("deleteOptions") or {}, dry_run="dryRun" in query)
            return 201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        if request.verb == "create" and not request.name:
            return 201, self.pods.create(request.namespace, request.content, query)
        if request.verb == "update":
            return 200, self.pods.replace(key, request.content, query, status=status)
        if request.verb == "patch":
            return 200, self.pods.patch(key, request.content_type, request.content, query, status=status)
        if request.verb == "delete":
            options = {**(request.content or {})}
            if "gracePeriodSeconds" in query:
                options["gracePeriodSeconds"] = request.number("gracePeriodSeconds")
            return 200, self.pods.delete(key, options, dry_run="dryRun" in query or bool(options.get("dryRun")))
        raise ApiError(405, "the server does not allow this method on the requested resource")

    def _list(self, request: Request) -> Object:
        fits = selectors.make(request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""))
        objects, version = self._storage.list(request.resource, request.namespace or None)
        asked = request.number("resourceVersion")
        if asked == 0 and self._cache:
            objects, version = self._cache[request.resource]
            objects = [it for it in objects if request.namespace in ("", it["metadata"]["namespace"])]
        elif asked is not None and asked > version:
            raise ApiError(504, f"Too large resource version: {asked}, current: {version}")
        found = [it for it in objects if fits(it)]
        return {
            "kind": f"{_KINDS[request.resource]}List",
            "apiVersion": "v1",
            **_page(found, version, request.number("limit"), request.query.get("continue", "")),
        }


def _page(found: list[Object], version: int, limit: int | None, token: str) -> Object:
    """Cut one page of a list. A token says after which object the next page begins."""
    metadata: Object = {"resourceVersion": str(version)}
    if token:
        after = json.loads(base64.b64decode(token))
        found = [it for it in found if _place(it) > after]
    if limit and len(found) > limit:
        metadata["remainingItemCount"] = len(found) - limit
        found = found[:limit]
        metadata["continue"] = base64.b64encode(json.dumps(_place(found[-1])).encode()).decode()
    return {"metadata": metadata, "items": found}


def _place(it: Object) -> list[str]:
    return [it["metadata"].get("namespace", ""), it["metadata"]["name"]]
