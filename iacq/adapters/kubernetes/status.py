"""What a cluster says about a pod, in the words of `ports.PresentPod`."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from iacq.adapters.kubernetes.api import Refused
from iacq.domain.pod_manifest import LABELS, SAFE_TO_EVICT, SYSTEM_LABEL, WORKER
from iacq.errors import Unavailable
from iacq.ports import PodPhase, PresentPod

_LATE_MS = 60_000
"""How long after its grace a stopping pod may be listed before that is worth a word."""
_KILLED = {
    "OOMKilled": "needed more memory than its limit and was killed",
    "Evicted": "was evicted from its node",
    "Preempted": "had to make room for a more important pod",
    "NodeLost": "was on a node that is lost",
    "Shutdown": "was on a node that shuts down",
    "NodeShutdown": "was on a node that shuts down",
    "Terminated": "was on a node that shuts down",
}


def selector(system: str) -> str:
    """Return which pods are those of this system, in the words of a label selector."""
    return ",".join(f"{name}={value}" for name, value in {**LABELS, SYSTEM_LABEL: system}.items())


def read(pod: Mapping[str, Any]) -> PresentPod:
    """Return what becomes of a pod."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    phase, reason = _judge(metadata, status)
    running = (_worker(status).get("state") or {}).get("running") or {}
    said = metadata.get("annotations") or {}
    return PresentPod(
        name=metadata["name"],
        uid=metadata["uid"],
        phase=phase,
        reason=reason,
        started_at=_ms(running.get("startedAt")),
        in_use=said.get(SAFE_TO_EVICT) != "true",
    )


def ending(pod: Mapping[str, Any]) -> int | None:
    """Return when the grace of a pod that is being stopped ends, ms; None: it is not."""
    return _ms((pod.get("metadata") or {}).get("deletionTimestamp"))


def with_lateness(pod: PresentPod, *, ending: int | None, now: int) -> PresentPod:
    """Return the pod with a word about a node that does not say that it has ended."""
    if ending is None or now <= ending + _LATE_MS:
        return pod
    return dataclasses.replace(pod, reason="it should have ended long ago: its node does not answer")


def unavailable(error: Refused, right: str, namespace: str) -> Unavailable:
    """Say why a call that should always be possible is not. right: verb and resource, as a role names them."""
    if error.status == 403:
        return Unavailable(
            f"iacq has no right to {right} in namespace {namespace}",
            hint="add it to the Role of its service account; `iacq doctor` lists what is missing",
            code="cluster_forbidden",
        )
    if error.status == 404:
        return Unavailable(
            f"the namespace {namespace} cannot be used: {error.message}",
            field="IACQ_POD_NAMESPACE",
            hint=f"`kubectl create namespace {namespace}`, or set IACQ_POD_NAMESPACE",
            code="no_namespace",
        )
    return Unavailable(
        f"the cluster refuses to {right} in namespace {namespace}: {error.message} (HTTP {error.status})",
        code="cluster_unavailable",
    )


def _judge(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[PodPhase, str | None]:
    if metadata.get("deletionTimestamp"):
        return PodPhase.STOPPING, None
    ended = (_worker(status).get("state") or {}).get("terminated")
    phase = status.get("phase")
    if ended is not None or phase in ("Failed", "Succeeded"):
        return PodPhase.FAILED, _why_it_ended(status, ended or {})
    if phase == "Running" and "running" in (_worker(status).get("state") or {}):
        return PodPhase.RUNNING, _why_not_ready(status)
    if phase == "Unknown":
        return PodPhase.RUNNING, "its node does not answer"
    return PodPhase.STARTING, _why_it_waits(status)


def _why_it_ended(status: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    word = ended.get("reason") or ""
    if word not in _KILLED and status.get("reason"):
        word = status["reason"]
    # What a container logged last says nothing about who killed it.
    message = status.get("message") or (None if word in _KILLED else ended.get("message"))
    text = f"it {_KILLED[word]}" if word in _KILLED else "its agent ended"
    if word and word not in _KILLED and word not in ("Error", "Completed"):
        text = f"{text}: {word}"
    if word not in _KILLED and ended.get("exitCode") is not None:
        text = f"{text} with exit code {ended['exitCode']}"
    return f"{text}: {_line(message, last=True)}" if message else text


def _why_not_ready(status: Mapping[str, Any]) -> str | None:
    """A node that is lost makes its pods not ready, and no container of them."""
    if status.get("reason") == "NodeLost":
        return "its node does not answer"
    ready, containers = _condition(status, "Ready"), _condition(status, "ContainersReady")
    if ready.get("status") in ("False", "Unknown") and containers.get("status") == "True":
        return "its node does not answer"
    return None


def _why_it_waits(status: Mapping[str, Any]) -> str | None:
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"no node takes it ({scheduled.get('reason')}): {_line(scheduled.get('message'))}"
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        word = waiting.get("reason")
        if word and word not in ("ContainerCreating", "PodInitializing"):
            return f"container {container.get('name')}: {word}: {_line(waiting.get('message'))}"
    return None


def _worker(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found = (one for one in status.get("containerStatuses") or () if one.get("name") == WORKER)
    return next(found, {})


def _containers(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((one for one in status.get("conditions") or () if one.get("type") == kind), {})


def _line(message: object, *, last: bool = False) -> str:
    """Return it in one line, not too long. last: its end says most, as in a log."""
    text = " ".join(str(message or "no message").split())
    return text[-500:] if last else text[:500]


def _ms(timestamp: str | None) -> int | None:
    return int(dt.datetime.fromisoformat(timestamp).timestamp() * 1000) if timestamp else None
