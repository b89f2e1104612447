"""What kombu leaves in Redis of a pod that is gone."""

import json
from typing import Any

import fakeredis
import pytest

from iacq.adapters.messaging import pod_queues

REMOTE = "_kombu.binding.celery.pidbox"
NODES = ("agent@dead", "slot1@dead", "slot1@alive", "slot1@deader", "control@dead", "celery@elsewhere")


def binding(queue: str) -> str:
    return f"{queue}\x06\x16\x06\x16{queue}"


@pytest.fixture
def client() -> Any:
    made = fakeredis.FakeStrictRedis(server=fakeredis.FakeServer())
    for pod in ("dead", "alive", "deader"):
        for which in ("agent", "1", "2"):
            made.sadd(f"_kombu.binding.{pod}.{which}", binding(f"{pod}.{which}"))
    made.lpush("dead.1", "a bell")
    for node in NODES:
        made.sadd(REMOTE, f"\x06\x16\x06\x16{node}.celery.pidbox")
    for other in ("iacq.control", "orders.1", "dead.letters"):
        made.sadd(f"_kombu.binding.{other}", binding(other))
        made.lpush(other, "somebody else's")
    return made


def keys(client: Any) -> set[str]:
    return {key.decode() for key in client.scan_iter()}


def test_only_what_belongs_to_the_pod_goes(client: Any) -> None:
    before = keys(client)
    assert pod_queues.pods(client) == {"dead", "alive", "deader"}
    assert pod_queues.forget(client, "dead")
    gone = {f"_kombu.binding.dead.{which}" for which in ("agent", "1", "2")}
    assert keys(client) == before - gone - {"dead.1"}
    left = {member.decode().split("\x16")[-1] for member in client.smembers(REMOTE)}
    assert left == {f"{node}.celery.pidbox" for node in NODES[2:]}
    assert pod_queues.pods(client) == {"alive", "deader"}


def test_what_was_taken_and_not_acknowledged_would_come_back(client: Any) -> None:
    before = keys(client) | {"unacked"}
    client.hset("unacked", "tag", json.dumps([{"body": ""}, "", "dead.2"]))
    client.hset("unacked", "rubbish", "{}")
    assert not pod_queues.forget(client, "dead")
    assert keys(client) == before
    client.hdel("unacked", "tag")
    assert pod_queues.forget(client, "dead")
    assert "_kombu.binding.dead.1" not in keys(client)


def test_one_that_is_interrupted_is_done_again(client: Any) -> None:
    deleted: list[str] = []
    delete = client.delete

    def interrupted(*names: str) -> None:
        if deleted:
            raise KeyboardInterrupt
        deleted.extend(names)
        delete(*names)

    client.delete = interrupted
    with pytest.raises(KeyboardInterrupt):
        pod_queues.forget(client, "dead")
    client.delete = delete
    assert "dead" in pod_queues.pods(client)
    assert pod_queues.forget(client, "dead")
    assert not [key for key in keys(client) if "dead." in key and "letters" not in key]
