"""Rings bells through Celery."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from iacq import messages
from iacq.errors import Unavailable
from iacq.messages import Doorbell

if TYPE_CHECKING:
    from celery import Celery


class CeleryDispatcher:
    """Implements `ports.Dispatcher`. Never retries: a bell that was not rung is in the outbox."""

    def __init__(self, make_app: Callable[[], Celery]) -> None:
        """make_app: called at the first ring; who never rings need not import Celery, which takes a while."""
        self._make_app = make_app

    @functools.cached_property
    def _app(self) -> Celery:
        return self._make_app()

    def ring(self, doorbell: Doorbell) -> None:
        """Tell a slot to look at a run."""
        self._send(
            messages.PHASE_TASKS[doorbell.phase],
            doorbell.queue,
            {"run_id": doorbell.run_id, "phase": doorbell.phase.value, "attempt": doorbell.attempt},
            shown=doorbell.shown,
        )

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
            with self._app.producer_pool.acquire(block=True, timeout=2) as producer:
                producer.connection.ensure_connection(max_retries=1, interval_start=0, interval_max=0.1)
                _ = producer.channel
        except _failures() as error:
            raise _unavailable(error) from error

    def _send(self, task: str, queue: str, arguments: dict[str, Any], shown: str | None = None) -> None:
        try:
            self._app.send_task(
                task, kwargs=arguments, queue=queue, retry=False, ignore_result=True, kwargsrepr=shown or ""
            )
        except _failures() as error:
            raise _unavailable(error) from error


def _failures() -> tuple[type[Exception], ...]:
    from kombu.exceptions import KombuError, OperationalError
    from redis.exceptions import RedisError

    return OperationalError, KombuError, RedisError, OSError


def _unavailable(error: Exception) -> Unavailable:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return Unavailable(
        f"the broker does not answer: {reason}",
        field="IACQ_BROKER_URL",
        code="broker_unavailable",
        hint="what was asked for is stored, and starts when the broker is back",
    )
