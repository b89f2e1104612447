"""One pod on its node, step by step: scheduled, started, started again, told to end, killed, and gone."""

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.kubernetes import containers, statuses
from tests.kubernetes.containers import ConfigError, Container, Image, References
from tests.kubernetes.pods import ENDED
from tests.kubernetes.problems import ApiError
from tests.kubernetes.storage import Key, Object, Storage

_BACK_OFF = (0.2, 0.4, 0.8, 1.6)
"""Seconds between two starts of a container; a real one: 10 s, 20 s … 5 min."""
_PULL_AGAIN = 0.3


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    storage: Storage
    references: References
    images: Mapping[str, Image]
    root: Path  # of the volumes and logs
    clean: Callable[[str], None]  # removes what a pod of this name wrote to paths that all pods share


class Workload:
    """Used by the kubelet's thread only, but for `evict` and `kill_for_memory`."""

    def __init__(self, pod: Object, around: Surroundings) -> None:
        metadata = pod["metadata"]
        self.key = Key(resource="pods", namespace=metadata["namespace"], name=metadata["name"])
        self.uid: str = metadata["uid"]
        self.node = ""
        self.container: Container | None = None
        self.due = math.inf  # when a turn has something to do even if nothing happens, monotonic seconds
        self.gone = False
        self._around = around
        self._pod = pod  # as it was seen last
        self._paper = False  # it has no process
        self._restarts = 0
        self._last: Object | None = None  # how its container ended before
        self._oom = False
        self._evicted = ""
        self._kill_at = math.inf
        self._start_at = 0.0
        self._told_to_end = False

    @property
    def started(self) -> bool:
        return self.container is not None or self._paper

    def bind(self, node: str) -> None:
        self.node = node
        self._change(lambda pod: statuses.scheduled(pod, node))

    def evict(self, message: str) -> None:
        """Kill it, as a node does that has no memory or disk left: the pod stays, and has failed."""
        self._evicted = message
        if self.container:
            self.container.order("K")

    def kill_for_memory(self) -> None:
        """Kill its container, which used more memory than it may."""
        self._oom = True
        assert self.container is not None
        self.container.order("O")

    def turn(self) -> None:
        """Do what is to be done now."""
        found = self._around.storage.find(self.key)
        self._pod = found if found is not None and found["metadata"]["uid"] == self.uid else self._pod
        removed = found is None or found["metadata"]["uid"] != self.uid
        self.due = math.inf
        code = self.container.ended() if self.container else None
        if removed or "deletionTimestamp" in self._pod["metadata"]:
            self._end(removed=removed)
        elif self._pod["status"]["phase"] in ENDED:
            return
        elif code is not None or (self._paper and self._evicted):
            self._ended(code if code is not None else 137)
        elif not self.started and time.monotonic() < self._start_at:
            self.due = self._start_at
        elif not self.started:
            self._start()

    def _start(self) -> None:
        spec = self._pod["spec"]["containers"][0]
        image = self._around.images.get(spec["image"])
        if image is None:
            self._cannot_pull(spec["image"])
            return
        try:
            self._launch(spec, image)
        except (ConfigError, OSError) as error:
            self._wait(_PULL_AGAIN)
            reason, said = "CreateContainerConfigError", str(error)
            self._change(lambda pod: statuses.waiting(pod, reason, said, restarts=self._restarts, last=self._last))
            return
        self._change(lambda pod: statuses.running(pod, restarts=self._restarts, last=self._last))

    def _launch(self, spec: Object, image: Image) -> None:
        mounts = self._mount(spec)
        environment = containers.environment(self._pod, spec, image, self._around.references, mounts)
        if image.paper:
            self._paper = True
            return
        argv = containers.command(spec, image, environment)
        log = self._around.root / "log" / f"{self.key.name}.log"
        self.container = Container(argv, environment, self._around.root, log)

    def _cannot_pull(self, image: str) -> None:
        self._wait(_PULL_AGAIN)
        said = self._pod["status"].get("containerStatuses")
        if said and said[0]["state"].get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff"):
            reason, message = "ImagePullBackOff", f'Back-off pulling image "{image}"'
        else:
            reason, message = "ErrImagePull", f'failed to pull and unpack image "{image}": not found'
        self._change(lambda pod: statuses.waiting(pod, reason, message))

    @property
    def _directory(self) -> Path:
        return self._around.root / "pods" / self.uid

    def _mount(self, spec: Object) -> dict[str, str]:
        """Return where the volumes are.

        An emptyDir is one directory for all pods: the paths that pods see are equal, as they are in a cluster. /tmp is
        that of this machine.
        """
        secrets = {
            volume["name"]: volume["secret"]["secretName"]
            for volume in self._pod["spec"].get("volumes") or []
            if "secret" in volume
        }
        mounts = {}
        for mount in spec.get("volumeMounts") or []:
            if mount["mountPath"] == "/tmp":
                continue
            path = self._around.root / "shared" / mount["mountPath"].strip("/")
            if mount["name"] in secrets:
                path = self._directory / "secrets" / mount["name"]
                for name, value in containers.secret(self._around.references, secrets[mount["name"]]).items():
                    path.mkdir(mode=0o700, parents=True, exist_ok=True)
                    (path / name).write_text(value)
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            mounts[mount["mountPath"].rstrip("/")] = str(path)
        return mounts

    def _ended(self, code: int) -> None:
        words = self._last_words(code)
        state = statuses.terminated(code, statuses.started_at(self._pod), oom=self._oom, message=words)
        self._forget_container()
        self._oom, self._last = False, state
        policy = self._pod["spec"]["restartPolicy"]
        if self._evicted:
            said = self._evicted
            self._change(
                lambda pod: statuses.ended(pod, state, restarts=self._restarts, reason="Evicted", message=said)
            )
        elif policy == "Never" or (policy == "OnFailure" and code == 0):
            self._change(lambda pod: statuses.ended(pod, state, restarts=self._restarts))
        else:
            delay = _BACK_OFF[min(self._restarts, len(_BACK_OFF) - 1)]
            self._restarts += 1
            self._wait(delay)
            said = f"back-off {delay:g}s restarting failed container"
            self._change(
                lambda pod: statuses.waiting(pod, "CrashLoopBackOff", said, restarts=self._restarts, last=state)
            )

    def _last_words(self, code: int) -> str:
        policy = self._pod["spec"]["containers"][0]["terminationMessagePolicy"]
        return self.container.last_words() if self.container and code and policy == "FallbackToLogsOnError" else ""

    def _end(self, *, removed: bool) -> None:
        """Let the pod go: SIGTERM, after the grace SIGKILL. When nothing of it lives, it is removed from the API."""
        if self.container is not None and self.container.ended() is None:
            grace = self._pod["metadata"].get("deletionGracePeriodSeconds")
            if grace is None:  # removed by force: the API does not know it any more, and the node has not ended it yet
                grace = self._pod["spec"]["terminationGracePeriodSeconds"]
            if not self._told_to_end:
                self._told_to_end = True
                self.container.order("T")
            self._kill_at = min(self._kill_at, time.monotonic() + grace)
            if time.monotonic() >= self._kill_at:
                self.container.order("K")
            else:
                self.due = self._kill_at
            return
        self._forget_container()
        self._around.clean(self.key.name)
        shutil.rmtree(self._directory, ignore_errors=True)
        if not removed:
            self._around.storage.remove(self.key, uid=self.uid)
        self.gone = True

    def _wait(self, seconds: float) -> None:
        self._start_at = self.due = time.monotonic() + seconds

    def _forget_container(self) -> None:
        if self.container:
            self.container.forget()
        self.container, self._paper = None, False

    def _change(self, change: Callable[[Object], Object]) -> None:
        def checked(pod: Object) -> Object:
            return change(pod) if pod["metadata"]["uid"] == self.uid else pod

        try:
            self._pod = self._around.storage.change(self.key, checked)
        except ApiError:  # removed meanwhile: the next turn sees it
            return
