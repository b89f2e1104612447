"""What a cluster says about a pod, in words."""

from typing import Any

import pytest

from iacq.adapters.kubernetes import status as kubernetes_status
from iacq.ports import PodPhase

STARTED = "2026-05-01T10:00:00Z"
STARTED_MS = 1_777_629_600_000


def pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a", "uid": "u", "resourceVersion": "7", **metadata}, "status": status}


def worker(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "worker", "state": state}]


def waiting(reason: str, message: str | None = None) -> dict[str, Any]:
    return {"phase": "Pending", "containerStatuses": worker(waiting={"reason": reason, "message": message})}


def ended(**state: Any) -> dict[str, Any]:
    return {"phase": "Failed", "containerStatuses": worker(terminated=state)}


RUNS = {"phase": "Running", "containerStatuses": worker(running={"startedAt": STARTED})}


@pytest.mark.parametrize(
    ("status", "phase", "reason"),
    [
        ({}, PodPhase.STARTING, None),
        ({"phase": "Pending"}, PodPhase.STARTING, None),
        (waiting("ContainerCreating"), PodPhase.STARTING, None),
        (waiting("ErrImagePull", "no such image"), PodPhase.STARTING, "container worker: ErrImagePull: no such image"),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
                ],
            },
            PodPhase.STARTING,
            "no node takes it (Unschedulable): 0/3 nodes",
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [{"name": "ca", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
            },
            PodPhase.STARTING,
            "container ca: CrashLoopBackOff: no message",
        ),
        (RUNS, PodPhase.RUNNING, None),
        (
            {
                **RUNS,
                "conditions": [
                    {"type": "Ready", "status": "False"},
                    {"type": "ContainersReady", "status": "True"},
                ],
            },
            PodPhase.RUNNING,
            "its node does not answer",
        ),
        ({**RUNS, "phase": "Unknown"}, PodPhase.RUNNING, "its node does not answer"),
        (
            ended(reason="Error", exitCode=3, message="no\ndatabase"),
            PodPhase.FAILED,
            "its agent ended with exit code 3: no database",
        ),
        (
            ended(reason="OOMKilled", exitCode=137),
            PodPhase.FAILED,
            "it needed more memory than its limit and was killed",
        ),
        ({"phase": "Succeeded"}, PodPhase.FAILED, "its agent ended"),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "low on disk"},
            PodPhase.FAILED,
            "it was evicted from its node: low on disk",
        ),
        # A second container of a template keeps the phase at Running: the agent counts.
        (
            {"phase": "Running", "containerStatuses": worker(terminated={"exitCode": 1})},
            PodPhase.FAILED,
            "its agent ended with exit code 1",
        ),
    ],
)
def test_what_becomes_of_a_pod_and_why(status: dict[str, Any], phase: PodPhase, reason: str | None) -> None:
    found = kubernetes_status.read(pod(status))
    assert (found.phase, found.reason) == (phase, reason)


def test_one_that_is_being_stopped_is_so_whatever_else_is_said() -> None:
    found = pod(RUNS, deletionTimestamp=STARTED)
    present = kubernetes_status.read(found)
    assert (present.phase, present.reason, present.started_at) == (PodPhase.STOPPING, None, STARTED_MS)
    ending = kubernetes_status.ending(found)
    assert ending == STARTED_MS
    assert kubernetes_status.with_lateness(present, ending=ending, now=ending + 1000).reason is None
    late = kubernetes_status.with_lateness(present, ending=ending, now=ending + 100_000)
    assert "its node does not answer" in (late.reason or "")


def test_whether_it_may_be_moved_is_an_annotation() -> None:
    name = "cluster-autoscaler.kubernetes.io/safe-to-evict"
    assert kubernetes_status.read(pod(RUNS)).in_use is True
    assert kubernetes_status.read(pod(RUNS, annotations={name: "true"})).in_use is False
