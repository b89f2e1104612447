"""A worker whose broker dies while it listens, holding a message that it has not acknowledged yet."""

import os
import signal
from pathlib import Path

import pytest
from kombu import Connection

from iacq import messages
from iacq.adapters.broker import connection
from iacq.adapters.broker.embedded import EmbeddedBroker
from iacq.adapters.messaging.dispatcher import CeleryDispatcher
from iacq.adapters.messaging.guarded_transport import guard
from iacq.adapters.messaging.refusals import Refusals
from iacq.settings import Settings


def test_it_closes_what_it_has_and_lives_on(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "b")
    broker, sender = EmbeddedBroker(settings), CeleryDispatcher(lambda: connection.of_client(settings))
    broker.start()
    try:
        sender.ring_control(messages.DISPATCH)
        sender.close()
        listening = Connection(settings.celery_broker_url)
        listening.transport_cls = guard(listening.get_transport_cls(), {messages.DISPATCH}, Refusals())
        channel = listening.default_channel
        channel.basic_consume(messages.CONTROL_QUEUE, no_ack=False, callback=lambda _: None, consumer_tag="1")
        other = listening.channel()  # as Celery's remote control has
        other.basic_consume("remote", no_ack=True, callback=lambda _: None, consumer_tag="2")
        listening.drain_events(timeout=10)
        with pytest.raises(TimeoutError):
            listening.drain_events(timeout=0.5)
        assert channel.qos._delivered
        assert channel._in_poll
        assert other._in_poll
        os.kill(broker.pid or 0, signal.SIGKILL)
    finally:
        broker.stop()
    listening.collect()  # as Celery does when it notices
    listening.close()
