"""How everybody connects to the broker, and the connection of whoever only rings: without Celery, which takes a
tenth of a second to import.
"""

from __future__ import annotations

from typing import Any

from kombu.connection import Connection, ConnectionPool

from iacq.adapters.broker.kept_client import keep_client
from iacq.settings import Settings

TRANSPORT: dict[str, Any] = {"priority_steps": [0], "socket_keepalive": True, "health_check_interval": 10}
"""Options that are the same for workers and clients."""


def of_client(settings: Settings) -> Connection:
    """Describe a connection that gives up within two seconds, the outbox rings later. It is not open yet."""
    make: Any = Connection  # kombu has few types
    connection: Connection = make(
        settings.celery_broker_url,
        connect_timeout=2,
        transport_options={
            **TRANSPORT,
            "socket_timeout": 2,
            "socket_connect_timeout": 2,
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.1,
        },
    )
    return connection


class ClientPool(ConnectionPool):
    """Connections like the given one, which keep their client of redis-py."""

    def new(self) -> Any:
        """Describe one more."""
        new: Any = super().new  # kombu has few types
        made = new()
        made.transport_cls = keep_client(made.get_transport_cls())
        return made
