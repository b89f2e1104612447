"""The scheduler and the kubelets of all nodes, in one thread: it sees pods, and makes them real."""

import contextlib
import math
import os
import select
import threading
import time
from collections import Counter
from typing import Self

from tests.kubernetes import nodes, statuses
from tests.kubernetes.nodes import Node
from tests.kubernetes.problems import ApiError
from tests.kubernetes.storage import Key, Object
from tests.kubernetes.workload import Surroundings, Workload

_SCHEDULE_AGAIN = 0.2
_FIRST = "node-1"


class Kubelet:
    """A context manager; at its end nothing of any pod is alive."""

    def __init__(self, around: Surroundings) -> None:
        self.nodes = {_FIRST: Node(name=_FIRST)}
        self._around = around
        self._storage = around.storage
        self._lock = threading.RLock()  # guards what the thread and the test both touch
        self._workloads: dict[str, Workload] = {}  # by uid
        self._dirty: set[str] = set()
        self._pending: dict[str, Workload] = {}  # that have no node yet
        self._schedule_at = math.inf
        self._seen = around.storage.version
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stop = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)

    def __enter__(self) -> Self:
        self._storage.listen(self._ring)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._ring()
        self._thread.join()
        living = [one.container for one in self._workloads.values() if one.container]
        for container in living:
            container.order("K")
        for container in living:
            while container.ended() is None:
                select.select([], [], [], 0.01)
            container.forget()
        os.close(self._wake)
        self._wake = -1
        if self._failure is not None:
            raise self._failure

    def workload(self, name: str) -> Workload:
        """Return the present pod of a name."""
        with self._lock:
            return next(one for one in reversed(self._workloads.values()) if one.key.name == name and not one.gone)

    # what a test lets happen

    def evict(self, name: str, message: str = "The node was low on resource: memory.") -> None:
        """As a node without memory does: the pod is killed, stays, and is Failed."""
        with self._lock:
            found = self.workload(name)
            found.evict(message)
            self._dirty.add(found.uid)
        self._ring()

    def kill_for_memory(self, name: str) -> None:
        """Kill the container of a pod, which used more memory than it may."""
        with self._lock:
            self.workload(name).kill_for_memory()

    def lose_node(self, name: str = "node-1") -> None:
        """Nobody hears of a node any more: its processes stand still, and the API goes on saying that they run."""
        with self._lock:
            self.nodes[name].lost = True
            for one in self._on(name):
                if one.container:
                    one.container.order("S")
                self._update(one.key, statuses.not_ready)

    def recover_node(self, name: str = "node-1") -> None:
        """It is back, with all that stood still."""
        with self._lock:
            self.nodes[name].lost = False
            for one in self._on(name):
                if one.container:
                    one.container.order("C")
                self._dirty.add(one.uid)
        self._ring()

    def remove_node(self, name: str = "node-1") -> None:
        """Its machine is gone with all that ran there; then the API forgets its pods."""
        with self._lock:
            del self.nodes[name]
            lost = self._on(name)
            for one in lost:
                if one.container:
                    one.container.order("K")
            for one in lost:
                while one.container and one.container.ended() is None:
                    select.select([], [], [], 0.01)
                with contextlib.suppress(ApiError):
                    self._storage.remove(one.key, uid=one.uid)
        self._ring()

    def add_node(self, name: str, *, room: int = 1000) -> None:
        with self._lock:
            self.nodes[name] = Node(name=name, room=room)
        self._ring()

    def reset_nodes(self) -> None:
        """Let there be one node, with room: new pods go there, what is lost comes back first."""
        for name in [name for name, node in self.nodes.items() if node.lost]:
            self.recover_node(name)
        with self._lock:
            for node in self.nodes.values():
                node.cordoned = True
            self.nodes[_FIRST] = Node(name=_FIRST)
        self._ring()

    def _on(self, node: str) -> list[Workload]:
        return [one for one in self._workloads.values() if one.node == node and not one.gone]

    def _update(self, key: Key, change: object) -> None:
        with contextlib.suppress(ApiError):
            self._storage.change(key, change)

    def _ring(self) -> None:
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    # what follows runs in the thread

    def _run(self) -> None:
        try:
            while not self._stop:
                self._sleep()
                with self._lock:
                    self._look()
                    self._schedule()
                    self._work()
        except BaseException as error:  # noqa: BLE001 - raised at the end of the context
            self._failure = error

    def _sleep(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        descriptors = []
        with self._lock:
            due = [self._schedule_at, *(one.due for one in self._workloads.values())]
            for one in self._workloads.values():
                if one.container and one.container.ended() is None:
                    descriptors.append(os.pidfd_open(one.container.pid))
                    poll.register(descriptors[-1], select.POLLIN)
                elif one.container and not self._is_lost(one):
                    due.append(0)
        wait = max(0.0, min(due) - time.monotonic())
        poll.poll(None if wait == math.inf else wait * 1000 + 1)
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _look(self) -> None:
        """Take note of what changed in the API."""
        for change in self._storage.changes_since(max(self._seen, self._storage.oldest)):
            self._seen = change.version
            pod = change.new or change.old
            if change.key.resource != "pods" or pod is None:
                continue
            uid = pod["metadata"]["uid"]
            if change.old is None:
                self._workloads[uid] = self._pending[uid] = Workload(pod, self._around)
            self._dirty.add(uid)

    def _schedule(self) -> None:
        self._schedule_at = math.inf
        used = Counter(one.node for one in self._workloads.values())
        for uid, one in list(self._pending.items()):
            found = nodes.choose(self.nodes, used)
            if self._storage.find(one.key) is None:
                one.gone = True
                del self._pending[uid]
            elif isinstance(found, Node):
                one.bind(found.name)
                used[found.name] += 1
                del self._pending[uid]
            else:
                self._say_unschedulable(one.key, found)
                self._schedule_at = time.monotonic() + _SCHEDULE_AGAIN

    def _say_unschedulable(self, key: Key, why: str) -> None:
        def change(pod: Object) -> Object:
            return statuses.unschedulable(pod, why)

        self._update(key, change)

    def _work(self) -> None:
        now = time.monotonic()
        for uid, one in list(self._workloads.items()):
            ended = one.container is not None and one.container.ended() is not None
            if one.node and not self._is_lost(one) and (uid in self._dirty or one.due <= now or ended):
                self._dirty.discard(uid)
                one.turn()
            if one.gone:
                del self._workloads[uid]
                self._dirty.discard(uid)

    def _is_lost(self, one: Workload) -> bool:
        node = self.nodes.get(one.node)
        return node is not None and node.lost
