"""Celery's connection to Redis, with the inbox between queues and Celery: nothing that lies there stops a worker."""

from __future__ import annotations

from collections.abc import Container
from queue import Empty
from typing import Any

from redis.exceptions import ConnectionError, RedisError  # noqa: A004 - the one that kombu expects

from iacq.adapters.broker.kept_client import keep_client
from iacq.adapters.messaging import inbox
from iacq.adapters.messaging.inbox import Refused
from iacq.adapters.messaging.refusals import Reason, Refusals

_REMOTE_CONTROL = ".pidbox"
"""Ending of the queues through which Celery's own remote control comes: pings, Flower's questions."""

_PUBLISHED = (b"message", b"pmessage", "message", "pmessage")


def guard(transport: Any, tasks: Container[str], refusals: Refusals) -> Any:
    """Build the class that stands for `transport` (a class of `kombu.transport.redis`) in a worker."""
    transport = keep_client(transport)

    class GuardedChannel(transport.Channel):  # type: ignore[misc]  # kombu has no types
        def _connparams(self, **options: Any) -> Any:
            if self.connection.client is None:
                # kombu closes the channel of a lost broker twice if it was listening, and the second time it wants to
                # give back what it holds, to nobody: unless this is a lost connection, too, the worker ends.
                raise ConnectionError("this transport is closed")
            return super()._connparams(**options)

        def _brpop_read(self, **options: Any) -> Any:
            try:
                return super()._brpop_read(**options)
            except (Empty, RedisError, *self.connection_errors):
                raise
            except Exception:  # noqa: BLE001 - what a decoder may raise has no end
                refusals.add(Reason.NOT_JSON, ", ".join(self.active_queues))
                return True

        def _handle_message(self, client: Any, response: Any) -> Any:
            # What was published for remote control: a message without data is passed over.
            payload = super()._handle_message(client, response)
            is_message = payload["type"] in _PUBLISHED
            if is_message and not inbox.is_envelope(payload["data"]):
                refusals.add(Reason.NOT_JSON, "remote control")
                return {**payload, "data": None}
            return payload

    class GuardedTransport(transport):  # type: ignore[misc]  # kombu has no types
        Channel = GuardedChannel

        def _deliver(self, message: Any, queue: str) -> None:
            tag = None
            try:
                if not queue.endswith(_REMOTE_CONTROL):
                    message = inbox.admit(message, queue, tasks)
                    tag = message["properties"]["delivery_tag"]
                super()._deliver(message, queue)
            except Refused as refused:
                refusals.add(refused.reason, queue)
            except Exception as error:
                # To kombu, a KeyError is a lost connection, too; here it is a message that lacks something.
                if isinstance(error, self.connection_errors) and not isinstance(error, KeyError):
                    raise
                refusals.add(Reason.FAILED, queue)
                _forget(self, tag)

    return GuardedTransport


def _forget(transport: Any, tag: str | None) -> None:
    """Take a message that was half accepted from the list of those that are restored later."""
    for channel in transport.channels:
        if channel.qos is not None and tag in channel.qos._delivered:  # noqa: SLF001 - kombu has no question for it
            channel.basic_reject(tag, requeue=False)
