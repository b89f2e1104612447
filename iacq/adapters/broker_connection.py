"""How everybody connects to the broker, and the connection of whoever only rings: without Celery, which takes a
tenth of a second to import.
"""

from __future__ import annotations

from typing import Any, cast

from kombu.connection import Connection

from iacq.adapters.kept_client import keep_client
from iacq.settings import Settings

TRANSPORT: dict[str, Any] = {"priority_steps": [0], "socket_keepalive": True, "health_check_interval": 10}
"""Options that are the same for workers and clients."""


def of_client(settings: Settings) -> Connection:
    """Describe a connection that gives up within two seconds, the outbox rings later. It is not open yet."""
    make: Any = Connection  # kombu has few types
    connection = make(
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
    connection.transport_cls = keep_client(connection.get_transport_cls())
    return cast("Connection", connection)
