"""The contract of `ports.Dispatcher`: the fake, fakeredis behind Celery, and a real broker behind Celery."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fakeredis
import kombu
import pytest
import redis

from iacq import messages
from iacq.adapters.broker import connection as broker_connection
from iacq.adapters.messaging.dispatcher import CeleryDispatcher
from iacq.domain.run import Phase
from iacq.errors import Unavailable
from iacq.messages import Doorbell, WarmupBell
from iacq.ports import Dispatcher
from iacq.settings import Settings
from iacq.testing.dispatcher import RecordingDispatcher
from tests.ports import free_address

BELL = Doorbell(run_id=42, phase=Phase.APPLY, attempt=3, queue="pod1.2", workspace="network")
WARMUP = WarmupBell(run_id=42, retry=2, queue="pod1.2", workspace="network")


@dataclass
class Broker:
    """A dispatcher, what arrived in its queues as (queue, task, arguments), and a node that consumes from one."""

    dispatcher: Dispatcher
    arrived: Callable[[], list[tuple[str, str, dict[str, Any]]]]
    declare: Callable[[str], object]  # a queue, as a node does when it starts


def decode(message: dict[str, Any]) -> dict[str, Any]:
    _, keywords, _ = json.loads(base64.b64decode(message["body"]))
    return dict(keywords)


def celery_broker(url: str, tmp_path: Path, client: Any) -> Iterator[Broker]:
    settings = Settings(home=tmp_path, broker_url=url)
    dispatcher = CeleryDispatcher(lambda: broker_connection.of_client(settings))

    def arrived() -> list[tuple[str, str, dict[str, Any]]]:
        found = []
        for queue in ("pod1.2", "pod1.agent", messages.CONTROL_QUEUE):
            for raw in reversed(client.lrange(queue, 0, -1)):
                message = json.loads(raw)
                found.append((queue, message["headers"]["task"], decode(message)))
        return found

    def declare(queue: str) -> None:
        with broker_connection.of_client(settings) as connection:
            kombu.Queue(queue, kombu.Exchange(queue), routing_key=queue).bind(connection.default_channel).declare()

    yield Broker(dispatcher, arrived, declare)
    dispatcher.close()
    client.close()


@pytest.fixture(scope="module")
def fakeredis_port() -> Iterator[int]:
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["fake", "fakeredis", "real"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    if request.param == "fake":
        fake = RecordingDispatcher()
        yield Broker(fake, lambda: [(rung.queue, rung.task, rung.arguments) for rung in fake.rung], lambda _queue: None)
        return
    if request.param == "fakeredis":
        port = request.getfixturevalue("fakeredis_port")
        client = redis.Redis(host="127.0.0.1", port=port)
        client.flushall()
        yield from celery_broker(f"redis://127.0.0.1:{port}", tmp_path, client)
        return
    url = request.getfixturevalue("broker_url")
    yield from celery_broker(url, tmp_path, redis.Redis(unix_socket_path=url.removeprefix("redis+socket://")))


class TestDispatcher:
    def test_a_doorbell_arrives_in_its_queue(self, broker: Broker) -> None:
        broker.dispatcher.ring(BELL)
        assert broker.arrived() == [("pod1.2", "iacq.apply", {"run_id": 42, "phase": "apply", "attempt": 3})]

    def test_the_others_too(self, broker: Broker) -> None:
        broker.dispatcher.warm()
        broker.dispatcher.ring_slot("pod1.2", messages.ANSWER)
        broker.dispatcher.ring_agent("pod1", messages.SIGNAL_RUN, run_id=42, slot_id=2)
        broker.dispatcher.ring_control(messages.DISPATCH)
        broker.dispatcher.ring_warmup(WARMUP)
        assert sorted(broker.arrived()) == [
            ("iacq.control", "iacq.dispatch", {}),
            ("pod1.2", "iacq.answer", {}),
            ("pod1.2", "iacq.warmup", {"run_id": 42, "retry": 2}),
            ("pod1.agent", "iacq.signal_run", {"run_id": 42, "slot_id": 2}),
        ]

    def test_every_ring_is_a_message_of_its_own(self, broker: Broker) -> None:
        for _ in range(3):
            broker.dispatcher.ring(BELL)
        assert len(broker.arrived()) == 3

    def test_the_queues_of_a_pod_are_forgotten_and_nobody_elses(self, broker: Broker) -> None:
        for pod in ("pod1", "pod", "pod1-2"):
            for which in ("agent", "2"):
                broker.declare(f"{pod}.{which}")
            broker.dispatcher.ring_agent(pod, messages.SIGNAL_RUN, run_id=42, slot_id=2)
            broker.dispatcher.ring_slot(f"{pod}.2", messages.ANSWER)
        broker.dispatcher.ring_control(messages.DISPATCH)
        assert broker.dispatcher.pods_with_queues() == {"pod1", "pod", "pod1-2"}
        for pod in ("pod", "pod1-2"):
            assert broker.dispatcher.forget_pod(pod)
            assert broker.dispatcher.forget_pod(pod), "twice is fine"
        assert {queue for queue, _, _ in broker.arrived()} == {"pod1.2", "pod1.agent", "iacq.control"}
        assert broker.dispatcher.pods_with_queues() == {"pod1"}
        assert broker.dispatcher.forget_pod("pod1")
        assert [queue for queue, _, _ in broker.arrived()] == ["iacq.control"]
        assert broker.dispatcher.pods_with_queues() == set()
        broker.dispatcher.ring(BELL)
        assert len(broker.arrived()) == 2, "a pod of that name may come back"


@pytest.fixture(params=["fake", "celery"])
def away(request: pytest.FixtureRequest, tmp_path: Path) -> Dispatcher:
    if request.param == "fake":
        fake = RecordingDispatcher()
        fake.away = True
        return fake
    settings = Settings(home=tmp_path, broker_url=f"redis://{free_address()}")
    return CeleryDispatcher(lambda: broker_connection.of_client(settings))


@pytest.mark.parametrize(
    "ring",
    [
        lambda dispatcher: dispatcher.ring(BELL),
        lambda dispatcher: dispatcher.ring_control(messages.DISPATCH),
        lambda dispatcher: dispatcher.ring_agent("pod1", messages.REMOVE_WORK_DIRS),
        lambda dispatcher: dispatcher.ring_slot("pod1.2", messages.ANSWER),
        lambda dispatcher: dispatcher.ring_warmup(WARMUP),
        lambda dispatcher: dispatcher.warm(),
    ],
)
def test_a_broker_that_is_away_is_unavailable(away: Dispatcher, ring: Callable[[Dispatcher], None]) -> None:
    with pytest.raises(Unavailable) as caught:
        ring(away)
    assert caught.value.code == "broker_unavailable"


def test_the_client_of_redis_is_made_once(broker_url: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, broker_url=broker_url)
    with broker_connection.ClientPool(broker_connection.of_client(settings), limit=1).acquire() as connection:
        channel = connection.default_channel
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
