"""What a kubelet writes into the status of a pod."""

from typing import Any

from tests.kubernetes.storage import now

Object = dict[str, Any]


def scheduled(pod: Object, node: str) -> Object:
    pod["spec"]["nodeName"] = node
    _condition(pod, "PodScheduled", "True")
    return pod


def unschedulable(pod: Object, why: str) -> Object:
    _condition(pod, "PodScheduled", "False", reason="Unschedulable", message=why)
    return pod


def waiting(pod: Object, reason: str, message: str = "", *, restarts: int = 0, last: Object | None = None) -> Object:
    """reason: ContainerCreating, ErrImagePull, CrashLoopBackOff …; last: how the container ended before."""
    said = {"reason": reason, **({"message": message} if message else {})}
    _containers(pod, {"waiting": said}, restarts=restarts, last=last)
    pod["status"].setdefault("startTime", now())
    _ready(pod, "False", reason="ContainersNotReady")
    return pod


def running(pod: Object, *, restarts: int, last: Object | None) -> Object:
    _containers(pod, {"running": {"startedAt": now()}}, restarts=restarts, last=last, ready=True)
    pod["status"] |= {"phase": "Running", "podIP": "127.0.0.1", "hostIP": "127.0.0.1"}
    pod["status"].setdefault("startTime", now())
    _ready(pod, "True")
    return pod


def terminated(code: int, started: str, *, oom: bool, message: str) -> Object:
    """Return the state of a container that has ended."""
    reason = "OOMKilled" if oom else "Completed" if code == 0 else "Error"
    state = {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now()}
    return {**state, **({"message": message} if message else {})}


def ended(pod: Object, state: Object, *, restarts: int, reason: str = "", message: str = "") -> Object:
    """reason, message: of the pod, if it is not the container's own end."""
    _containers(pod, {"terminated": state}, restarts=restarts, last=None)
    failed = bool(reason) or state["exitCode"] != 0
    pod["status"]["phase"] = "Failed" if failed else "Succeeded"
    if reason:
        pod["status"] |= {"reason": reason, "message": message}
    _ready(pod, "False", reason="PodFailed" if failed else "PodCompleted")
    return pod


def not_ready(pod: Object) -> Object:
    """Say what is said of a pod whose node is lost: of its containers nobody knows anything new."""
    _condition(pod, "Ready", "False", reason="NodeNotReady")
    return pod


def started_at(pod: Object) -> str:
    for status in pod["status"].get("containerStatuses") or []:
        if "running" in status["state"]:
            return str(status["state"]["running"]["startedAt"])
    return now()


def _containers(pod: Object, state: Object, *, restarts: int, last: Object | None, ready: bool = False) -> None:
    pod["status"]["containerStatuses"] = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": container["image"] if ready else "",
            "ready": ready,
            "started": ready,
            "restartCount": restarts,
            "state": state,
            "lastState": {"terminated": last} if last else {},
        }
        for container in pod["spec"]["containers"]
    ]


def _ready(pod: Object, status: str, **said: str) -> None:
    _condition(pod, "ContainersReady", status, **said)
    _condition(pod, "Ready", status, **said)


def _condition(pod: Object, kind: str, status: str, **said: str) -> None:
    conditions = {one["type"]: one for one in pod["status"].get("conditions") or []}
    before = conditions.get(kind, {})
    at = before["lastTransitionTime"] if before.get("status") == status else now()
    conditions[kind] = {"type": kind, "status": status, "lastTransitionTime": at, "lastProbeTime": None, **said}
    pod["status"]["conditions"] = list(conditions.values())
