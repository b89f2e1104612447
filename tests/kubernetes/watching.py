"""A watch: what changes from a version on, as far as it is selected, with a bookmark now and then."""

import time
from collections.abc import Callable, Iterator

from tests.kubernetes import selectors
from tests.kubernetes.problems import ApiError
from tests.kubernetes.requests import Request
from tests.kubernetes.storage import Change, Object, Storage

_LONGEST = 1800.0
_KIND = {"pods": "Pod", "namespaces": "Namespace", "deployments": "Deployment"}


def events(
    storage: Storage, request: Request, *, bookmark_seconds: float, is_cut: Callable[[], bool]
) -> Iterator[Object]:
    """Yield the events of a watch until its time is over or it is cut. Raises ApiError for a wrong question."""
    fits = selectors.make(request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""))
    version = request.number("resourceVersion") or 0
    ends = time.monotonic() + (request.number("timeoutSeconds") or _LONGEST)
    bookmarks = request.query.get("allowWatchBookmarks") in ("1", "true", "True")
    return _go_on(storage, request, version, fits, ends=ends, every=bookmark_seconds if bookmarks else None, cut=is_cut)


def _go_on(
    storage: Storage,
    request: Request,
    version: int,
    fits: Callable[[Object], bool],
    *,
    ends: float,
    every: float | None,
    cut: Callable[[], bool],
) -> Iterator[Object]:
    if version == 0:  # from what there is
        found, version = storage.list(request.resource, request.namespace or None)
        yield from ({"type": "ADDED", "object": it} for it in found if fits(it))
    marked = time.monotonic()
    while not cut() and (left := ends - time.monotonic()) > 0:
        try:
            changes = storage.changes_since(version, wait=min(left, every or left), until=cut)
        except ApiError as error:  # once a watch has begun, an error is one of its events
            yield {"type": "ERROR", "object": error.status()}
            return
        for change in changes:
            version = change.version
            event = _event(change, request, fits)
            if event is not None:
                yield event
        if every is not None and time.monotonic() - marked >= every:
            marked = time.monotonic()
            yield _bookmark(request, version)
    if every is not None and not cut():
        yield _bookmark(request, version)


def _event(change: Change, request: Request, fits: Callable[[Object], bool]) -> Object | None:
    """What is not selected any more is DELETED for this watch, and what begins to be is ADDED."""
    if change.key.resource != request.resource or request.namespace not in ("", change.key.namespace):
        return None
    before = change.old is not None and fits(change.old)
    if change.new is None:
        return {"type": "DELETED", "object": change.old} if before else None
    after = fits(change.new)
    if before or after:
        return {"type": "MODIFIED" if before and after else "ADDED" if after else "DELETED", "object": change.new}
    return None


def _bookmark(request: Request, version: int) -> Object:
    kind = {"kind": _KIND[request.resource], "apiVersion": "v1", "metadata": {"resourceVersion": str(version)}}
    # As the real one sends it: with what its type requires, empty.
    return {"type": "BOOKMARK", "object": {**kind, "spec": {"containers": None}, "status": {}}}
