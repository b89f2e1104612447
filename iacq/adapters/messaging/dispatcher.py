"""Rings bells: messages as Celery sends them, put into its queues by kombu.

Celery's own `send_task` does the same and more, which nobody here reads: its worker gets a message only after the
inbox has made it anew of the few fields that are below.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import uuid
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from iacq import messages
from iacq.adapters.messaging import pod_queues
from iacq.errors import Unavailable
from iacq.messages import Doorbell, WarmupBell

if TYPE_CHECKING:
    from kombu.connection import Connection

T = TypeVar("T")

_CONNECTIONS = 10
"""As many threads ring at once; others wait for their turn."""
_PATIENCE = 2.0
"""Seconds that a thread waits for it."""


class CeleryDispatcher:
    """Implements `ports.Dispatcher`. Never retries: a bell that was not rung is in the outbox."""

    def __init__(self, connection: Callable[[], Connection]) -> None:
        """connection: called at the first ring; who never rings need not import kombu, which takes a while."""
        self._connection = connection
        self._making = threading.Lock()
        self._made: Any = None  # a pool of kombu's producers
        _dispatchers.add(self)

    def _producers(self) -> Any:
        if self._made is None:
            with self._making:
                if self._made is None:
                    self._made = _make(self._connection())
        return self._made

    def close(self) -> None:
        """Close what is open; the next ring connects anew."""
        made, self._made = self._made, None
        if made is not None:
            with contextlib.suppress(*_failures()):
                made.force_close_all()
                made.connections.force_close_all()

    def forget(self) -> None:
        """After a fork: leave the parent's connections alone."""
        self._making = threading.Lock()  # another thread may have held it
        self._made = None

    def ring(self, doorbell: Doorbell) -> None:
        """Tell a slot to look at a run."""
        self._send(
            messages.PHASE_TASKS[doorbell.phase],
            doorbell.queue,
            {"run_id": doorbell.run_id, "phase": doorbell.phase.value, "attempt": doorbell.attempt},
            shown=doorbell.shown,
        )

    def ring_warmup(self, bell: WarmupBell) -> None:
        """Tell a slot to prepare a run."""
        arguments = {"run_id": bell.run_id, "retry": bell.retry}
        self._send(messages.WARMUP, bell.queue, arguments, shown=bell.shown)

    def ring_control(self, task: str) -> None:
        """Tell a control worker to do one of its jobs now."""
        self._send(task, messages.CONTROL_QUEUE, {})

    def ring_agent(self, pod_name: str, task: str, **arguments: int | str) -> None:
        """Tell a pod's housekeeping node."""
        self._send(task, messages.agent_queue(pod_name), arguments)

    def ring_slot(self, queue: str, task: str) -> None:
        """Ask a slot to answer."""
        self._send(task, queue, {})

    def warm(self) -> None:
        """Connect now. Raises Unavailable."""
        try:
            with self._producers().acquire(block=True, timeout=_PATIENCE) as producer:
                producer.connection.ensure_connection(max_retries=1, interval_start=0, interval_max=0.1)
                _ = producer.channel
        except _failures() as error:
            raise _unavailable(error) from error

    def pods_with_queues(self) -> set[str]:
        """Return the pods that have queues."""
        return self._ask(pod_queues.pods)

    def forget_pod(self, pod_name: str) -> bool:
        """Remove the queues of a pod."""
        return self._ask(lambda client: pod_queues.forget(client, pod_name))

    def _ask(self, question: Callable[[Any], T]) -> T:
        """Ask Redis itself, through a connection that bells are rung with."""
        try:
            with self._producers().acquire(block=True, timeout=_PATIENCE) as producer:
                producer.connection.ensure_connection(max_retries=1, interval_start=0, interval_max=0.1)
                return question(producer.channel.client)
        except _failures() as error:
            raise _unavailable(error) from error

    def _send(self, task: str, queue: str, arguments: dict[str, Any], shown: str | None = None) -> None:
        task_id = str(uuid.uuid4())
        try:
            with self._producers().acquire(block=True, timeout=_PATIENCE) as producer:
                producer.publish(
                    ([], arguments, {}),
                    routing_key=queue,
                    serializer="json",
                    headers={
                        "lang": "py",
                        **messages.VERSION,
                        "task": task,
                        "id": task_id,
                        "root_id": task_id,
                        "kwargsrepr": shown or "",
                        "origin": _origin(),
                        "ignore_result": True,
                    },
                    correlation_id=task_id,
                )
        except _failures() as error:
            raise _unavailable(error) from error


_dispatchers: weakref.WeakSet[CeleryDispatcher] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for dispatcher in list(_dispatchers):
        dispatcher.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _origin() -> str:
    """Name this process as Celery does, for Flower."""
    return f"gen{os.getpid()}@{socket.gethostname()}"


def _make(connection: Any) -> Any:
    """Make connections of our own: kombu's are shared by all of a process who name a broker."""
    from kombu.pools import ProducerPool

    from iacq.adapters.broker.connection import ClientPool

    pool: Any = ClientPool  # kombu has few types
    producers: Any = ProducerPool
    return producers(pool(connection, limit=_CONNECTIONS), limit=_CONNECTIONS)


def _failures() -> tuple[type[Exception], ...]:
    from kombu.exceptions import KombuError, LimitExceeded, OperationalError
    from redis.exceptions import RedisError

    return OperationalError, KombuError, LimitExceeded, RedisError, OSError


def _unavailable(error: Exception) -> Unavailable:
    from kombu.exceptions import LimitExceeded

    reason = str(error).strip().split("\n")[0] or type(error).__name__
    if isinstance(error, LimitExceeded):
        reason = f"{_CONNECTIONS} others wait for it already"
    return Unavailable(
        f"the broker does not answer: {reason}",
        field="IACQ_BROKER_URL",
        code="broker_unavailable",
        hint="what was asked for is stored, and starts when the broker is back",
    )
