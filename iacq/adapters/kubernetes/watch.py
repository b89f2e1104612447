"""Knows which pods a cluster has without asking again and again: one list, and from there on what the server tells.

A thread follows the events and resumes where it was after a cut; only when the server has forgotten that point does
it list again. While it is cut off nothing is known: an old list is never given out as the present one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from iacq import log
from iacq.adapters.kubernetes import status as kubernetes_status
from iacq.adapters.kubernetes.api import KubernetesApi, Refused
from iacq.errors import Unavailable
from iacq.ports import PresentPod

logger = log.get(__name__)

_FIRST_ANSWER = 10.0
"""Seconds for which whoever asks waits until the thread knows."""
_LONGEST_WATCH = 300
"""Seconds after which the server ends a watch; it is resumed with one call."""
_SILENCE = 90.0
"""Seconds without a word (servers send bookmarks about every minute) after which a connection counts as dead."""
_PAGE = 500
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_LONGEST_END = 5.0
_GONE = 410


class _Expired(Exception):  # noqa: N818 - it says what happened
    """The server has forgotten the point from which the watch was to go on."""


@dataclass(frozen=True, kw_only=True)
class _Known:
    pod: PresentPod
    ending: int | None  # ms: when its grace ends
    version: int


def next_pause(last: float, *, heard: bool) -> float:
    """Return the seconds before the server is asked again: longer and longer while nothing was heard of it."""
    return _FIRST_PAUSE if heard else min(last * 2, _LONGEST_PAUSE)


class PodWatch:
    """The pods of one selector. The thread starts at the first question."""

    def __init__(self, api: KubernetesApi, selector: str) -> None:
        """selector: of labels."""
        self._api, self._selector = api, selector
        self._changed = threading.Condition()
        self._pods: dict[str, _Known] = {}
        self._version = 0  # of the last event that was heard of
        self._following = False
        self._trouble: Unavailable | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._stream: Any = None

    def pods(self, *, now: int) -> dict[str, PresentPod]:
        """Return the pods by name. now: ms. Raises Unavailable while they are not known."""
        with self._changed:
            self._start()
            self._changed.wait_for(lambda: self._following or self._trouble, _FIRST_ANSWER)
            if self._trouble is not None:
                raise self._trouble
            if not self._following:
                raise Unavailable(
                    "the API server of the cluster has not said yet which pods there are", code="cluster_unavailable"
                )
            return {
                name: kubernetes_status.with_lateness(known.pod, ending=known.ending, now=now)
                for name, known in self._pods.items()
            }

    def learn(self, pod: Mapping[str, Any]) -> None:
        """Take note of an answer of the server about a pod, unless its events have come further."""
        with self._changed:
            if _version(pod) > self._version:
                self._put(pod)

    def forget(self, name: str) -> None:
        """Take note that a pod is gone."""
        with self._changed:
            self._pods.pop(name, None)

    def close(self) -> None:
        """End the thread; the next question starts another one."""
        self._stop.set()
        until = time.monotonic() + _LONGEST_END
        while self._thread is not None and self._thread.is_alive() and time.monotonic() < until:
            with contextlib.suppress(Exception):  # there is none, or it ends by itself meanwhile
                self._stream.shutdown()
            self._thread.join(timeout=0.05)
        self._thread = None
        atexit.unregister(self.close)

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._stop = threading.Event()
            self._following, self._trouble = False, None
            self._thread = threading.Thread(target=self._run, args=(self._stop,), name="pod-watch", daemon=True)
            self._thread.start()
            atexit.register(self.close)

    # What follows runs in the thread.

    def _run(self, stop: threading.Event) -> None:
        version: str | None = None
        pause = _FIRST_PAUSE
        while not stop.is_set():
            heard = self._version
            try:
                if version is None:
                    version = self._list()
                version = self._follow(version, stop)
            except _Expired:
                version = None
            except Unavailable as error:
                self._say(error)
            except Refused as error:
                self._say(kubernetes_status.unavailable(error, "list and watch pods", self._api.namespace))
            except Exception:  # whatever the thread meets: without it nobody would hear of pods again
                version = None
                logger.exception("the watch of the pods begins anew")
            pause = next_pause(pause, heard=self._version != heard)
            stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    def _list(self) -> str:
        """Ask for all pods, as they are now: no cache of the server answers. Returns where to follow from."""
        found: list[Mapping[str, Any]] = []
        query: dict[str, Any] = {"labelSelector": self._selector, "limit": _PAGE}
        while True:
            try:
                page = self._api.call("GET", self._path, query=query).body
            except Refused as error:
                if error.status == _GONE and "continue" in query:  # it took too long: from the beginning
                    raise _Expired from error
                raise
            found += page["items"]
            query["continue"] = page["metadata"].get("continue")
            if not query["continue"]:
                break
        version = str(page["metadata"]["resourceVersion"])
        with self._changed:
            self._pods = {}
            for pod in found:
                self._put(pod)
            self._version = _number(version)
        return version

    def _follow(self, version: str, stop: threading.Event) -> str:
        """Follow what happens from `version` on, until the watch ends; returns how far that was."""
        query = {
            "labelSelector": self._selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": _LONGEST_WATCH,
        }
        try:
            self._stream = self._api.stream(self._path, query=query, silence=_SILENCE)
        except Refused as error:
            if error.status == _GONE:
                raise _Expired from error
            raise
        self._say(None)
        try:
            for event in _events(self._stream):
                version = self._hear(event) or version
                if stop.is_set():
                    break
        finally:
            self._cut()
        return version

    def _hear(self, event: Mapping[str, Any]) -> str | None:
        """Take note of one event; returns its version."""
        kind, what = event["type"], event["object"]
        if kind == "ERROR":
            if what.get("code") == _GONE:
                raise _Expired
            raise Refused(what.get("code", 500), what)
        with self._changed:
            if kind == "DELETED":
                self._pods.pop(what["metadata"]["name"], None)
            elif kind != "BOOKMARK":
                self._put(what)
            self._version = _version(what)
        return str(what["metadata"]["resourceVersion"])

    def _put(self, pod: Mapping[str, Any]) -> None:
        known = self._pods.get(pod["metadata"]["name"])
        if known is not None and known.pod.uid == pod["metadata"]["uid"] and known.version > _version(pod):
            return  # an answer to a call of ours came before this event
        self._pods[pod["metadata"]["name"]] = _Known(
            pod=kubernetes_status.read(pod), ending=kubernetes_status.ending(pod), version=_version(pod)
        )

    def _say(self, trouble: Unavailable | None) -> None:
        with self._changed:
            self._trouble, self._following = trouble, trouble is None
            self._changed.notify_all()

    def _cut(self) -> None:
        with self._changed:
            self._following = False
        self._stream.close()
        self._stream.release_conn()

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self._api.namespace}/pods"


def _events(stream: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the events of a watch until it ends or is cut, which are the same to whoever resumes it."""
    from urllib3.exceptions import HTTPError

    rest = b""
    try:
        for piece in stream.stream(amt=None, decode_content=False):
            *lines, rest = (rest + piece).split(b"\n")
            yield from (json.loads(line) for line in lines if line.strip())
    except (HTTPError, OSError):
        return


def _version(pod: Mapping[str, Any]) -> int:
    return _number(pod["metadata"]["resourceVersion"])


def _number(version: str) -> int:
    """Return a resourceVersion as the number that it is: those of one kind are in order."""
    return int(version) if version.isdigit() else 0
