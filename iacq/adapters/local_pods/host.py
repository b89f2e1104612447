"""Makes the pods real that are wanted on this machine, as a kubelet does: starts, restarts, stops and removes them.

One thread does it all, and every agent dies with it. What the agents' keepers run goes on, and is found by the next
host. Stopping the host stops the agents, and the next one starts them again under their names.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

from iacq.adapters.local_pods.files import PodFiles, PodState
from iacq.adapters.local_pods.hosted_pod import HostedPod, Surroundings
from iacq.adapters.local_pods.runtime import HOST_LOCK
from iacq.adapters.programs.bell import Bell
from iacq.adapters.programs.interrupting import signals_as_hurry
from iacq.adapters.programs.supervised_program import Program, Restarts
from iacq.adapters.programs.up_lock import UpLock
from iacq.errors import IacqError, Unavailable
from iacq.ports import PodSpec
from iacq.settings import Settings

_LOOK = 0.2
"""Seconds between two looks at which pods are wanted."""
_PAUSE = 0.02
"""Seconds between two turns at least."""


class PodHost:
    """A context manager: it takes the lock of the host, and stops the agents at the end."""

    def __init__(
        self,
        settings: Settings,
        *,
        make_program: Callable[[PodSpec], Program],
        say: Callable[[str], None],
        restarts: Restarts | None = None,
    ) -> None:
        """make_program: says how a pod's agent is started; say: gets a line for each thing that happens."""
        self._files = PodFiles(settings.home)
        self._make_program = make_program
        self._say = say
        self._around = Surroundings(
            settings=settings, files=self._files, restarts=restarts or Restarts(), tell=self._tell
        )
        self._lock = UpLock(settings.home, HOST_LOCK)
        self._pods: dict[str, HostedPod] = {}
        self._bell = Bell()
        self._stop = False
        self._hurries = 0
        self._failure: BaseException | None = None
        self._troubles: dict[str, str] = {}  # what was said last of what is wrong with a pod
        self._thread = threading.Thread(target=self._host, name="pods", daemon=True)

    def __enter__(self) -> Self:
        """Take the lock. What earlier hosts said is not true any more. Raises Conflict if there is another host."""
        self._lock.acquire()
        try:
            self._files.set_stopping(False)
            self._files.sweep()
            now = time.time_ns() // 1_000_000
            for name in self._files.wanted():
                self._files.say(name, PodState(started_at=now))
        except BaseException:
            self._lock.release()
            raise
        self._bell.hang()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> None:
        """Wait for ^C (KeyboardInterrupt). Raises what ended the thread: no pod is looked after then."""
        while self._thread.is_alive():
            self._thread.join(_LOOK)  # Python handles a signal that comes just before only when something wakes it
        self.check()

    def check(self) -> None:
        """Raise what ended the thread, if it has ended."""
        if self._failure is not None:
            raise self._failure

    def hurry(self) -> None:
        """Send the agents that are being stopped SIGTERM once more; the next time SIGKILL. Safe in a signal handler."""
        self._hurries += 1
        self._bell.ring()

    def stop(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Stop all agents, each within its grace, and release the lock. May be called again.

        Called in the main thread, a further ^C or SIGTERM during it means `hurry()`. meanwhile: called once they were
        told to stop.
        """
        if not self._bell.hangs:
            return
        with signals_as_hurry(self.hurry):
            with contextlib.suppress(Unavailable):  # a full disk does not keep it from stopping
                self._files.set_stopping(True)
            self._stop = True
            self._bell.ring()
            meanwhile()
            while self._thread.is_alive():
                self._thread.join(_LOOK)
            self._bell.take_down()
        self._lock.release()

    # What follows runs in the thread.

    def _host(self) -> None:
        try:
            while not self._stop:
                self._turn()
                self._sleep(min((pod.due for pod in self._pods.values()), default=math.inf))
            for pod in self._pods.values():
                pod.stop()
            while any(pod.child.pid for pod in self._pods.values()):
                self._sleep(min(pod.due for pod in self._pods.values()))
                for pod in self._pods.values():
                    pod.stop(self._hurries)
        except BaseException as error:  # noqa: BLE001 - handed to the caller of check(); the agents die with the thread
            self._failure = error

    def _turn(self) -> None:
        with self._trouble("pods"):
            for name, wanted in self._files.wanted().items():
                if name not in self._pods:
                    self._pods[name] = HostedPod(self._make_program(wanted.spec), self._around)
        for name, pod in list(self._pods.items()):
            with self._trouble(name):
                pod.turn()
            if pod.gone:
                del self._pods[name]

    @contextlib.contextmanager
    def _trouble(self, name: str) -> Iterator[None]:
        """Say what is wrong with a pod, once; it is tried again."""
        try:
            yield
        except (IacqError, OSError) as error:
            if self._troubles.get(name) != str(error):
                self._tell(f"{name}: {error}")
            self._troubles[name] = str(error)
        else:
            self._troubles.pop(name, None)

    def _sleep(self, until: float) -> None:
        """Sleep until an agent ends, somebody rings, it is `until`, or time to look again."""
        children = (pod.child.descriptor for pod in self._pods.values())
        self._bell.sleep(children, max(_PAUSE, min(until - time.monotonic(), _LOOK)))

    def _tell(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone; what runs is more important
            self._say(text)
