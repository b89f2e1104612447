"""The Celery application: the same settings for control workers and slots.

Each setting was measured or follows from the rule that a message is a doorbell: the database decides.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from iacq.adapters.broker.connection import TRANSPORT
from iacq.adapters.broker.kept_client import keep_client
from iacq.adapters.messaging.guarded_transport import guard
from iacq.adapters.messaging.refusals import Refusals
from iacq.settings import Settings

_ANSWERS: dict[str, Any] = {
    "result_expires": 3600,  # seconds that the answer to a call stays in Redis
    # Whoever answers must not hang on a broker that does.
    "redis_socket_timeout": 5,
    "redis_socket_connect_timeout": 5,
    "result_backend_transport_options": {"retry_policy": {"max_retries": 2}},
}

_COMMON: dict[str, Any] = {
    "task_acks_late": False,  # an unacknowledged message runs again and again; the claim decides, the outbox resends
    "task_reject_on_worker_lost": False,
    "worker_prefetch_multiplier": 1,
    "task_ignore_result": True,
    "task_track_started": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "result_serializer": "json",
    "worker_soft_shutdown_timeout": 0,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_send_task_events": True,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_proc_alive_timeout": 30,
    "broker_connection_max_retries": None,
    "broker_connection_retry_on_startup": True,
    "task_default_queue": "iacq.control",
    "task_create_missing_queues": True,
    "timezone": "UTC",
    "beat_max_loop_interval": 5,
}


class WorkerApp(Celery):  # type: ignore[misc]  # celery has no types
    """The application of a worker: reads its queues through the inbox. `refusals` counts what was refused."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.refusals = Refusals()

    def connection_for_read(self, url: str | None = None, **kwargs: Any) -> Any:
        """Connect to consume."""
        connection = super().connection_for_read(url, **kwargs)
        name, connection.transport_cls = (
            connection.transport_cls,
            guard(connection.get_transport_cls(), self.tasks, self.refusals),
        )
        told = connection.info
        connection.info = lambda: {**told(), "transport": name}  # for `celery inspect stats`: a class is no JSON
        return connection

    def connection_for_write(self, url: str | None = None, **kwargs: Any) -> Any:
        """Connect to send events and answers."""
        connection = super().connection_for_write(url, **kwargs)
        connection.transport_cls = keep_client(connection.get_transport_cls())
        return connection


def make_worker_app(settings: Settings) -> WorkerApp:
    """Build the application of a worker: it waits for the broker for as long as it takes."""
    task_cls = "iacq.adapters.messaging.quiet_request:QuietTask"
    app = WorkerApp("iacq", broker=settings.celery_broker_url, set_as_current=False, task_cls=task_cls)
    app.conf.update(_COMMON)
    app.conf.broker_transport_options = {**TRANSPORT, "socket_timeout": 10, "socket_connect_timeout": 5}
    return app


def make_control_app(settings: Settings) -> WorkerApp:
    """Build the application of a control worker: as any worker's, and the calls of other services are answered."""
    app = make_worker_app(settings)
    app.conf.update(_ANSWERS, result_backend=settings.celery_broker_url)
    return app


def make_node(app: WorkerApp, name: str, queue: str, *, threads: int = 1) -> Any:
    """Build the Celery node that consumes one queue. Not through Celery's command line: it imports every plug-in."""
    return app.Worker(
        hostname=name,
        pool="threads",
        concurrency=threads,
        queues=[queue],
        without_gossip=True,
        without_mingle=True,
        loglevel="INFO",
        quiet=True,
    )
