"""Services that have only Celery."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import celery
import pytest

from iacq.domain.run import Status
from tests.acceptance import configurations
from tests.acceptance.system import System

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(system: System) -> Iterator[Call]:
    url = system.settings.celery_broker_url
    app = celery.Celery("billing", broker=url, backend=url, set_as_current=False)

    def send(task: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        answer: dict[str, Any] = app.send_task(task, args=args, kwargs=kwargs, queue="iacq.control").get(timeout=300)
        return answer

    with contextlib.closing(app):
        yield send


@pytest.fixture
def path(tmp_path):
    return configurations.write(tmp_path / "it", configurations.COUNTED)


@pytest.mark.parametrize("run_type", ["plan_and_apply", "destroy"])
def test_a_called_run_never_applies_by_itself(system: System, call: Call, tmp_path, run_type):
    path = configurations.write(tmp_path / "policy", configurations.COUNTED)
    system.workspace("policy", path)
    system.client.update_workspace("policy", auto_apply=True)
    if run_type == "destroy":
        system.wait(system.client.enqueue("policy", "plan_and_apply"))
    asked = {"workspace": "policy", "run_type": run_type, "auto_apply": True, "by": "billing"}
    answer = call("iacq.enqueue", **asked, variables={"size": 2})
    assert (answer["requested_by"], answer["auto_apply"]) == ("celery:billing", False)
    planned = system.wait(system.client.get(answer["id"]), Status.APPLY_PENDING)
    assert planned.status is Status.APPLY_PENDING
    system.ring("iacq.dispatch")
    again = call("iacq.get_run", id=planned.id)
    assert (again["status"], again["plan_hash"]) == ("apply_pending", planned.plan_hash)
    assert again.keys() == answer.keys() == system.client.to_json(planned).keys()
    assert not system.spy.calls("apply", run=planned.id)
    system.confirm(planned)  # by a client, which has the database
    assert system.wait(planned).status is Status.APPLIED


def test_a_key_gives_the_same_run_and_finds_it(system: System, call: Call, path):
    system.workspace("keyed", path)
    asked = {"workspace": "keyed", "run_type": "plan", "idempotency_key": f"call-{time.monotonic_ns()}"}
    first = call("iacq.enqueue", **asked, variables={"size": 2})
    assert call("iacq.enqueue", **asked, variables={"size": 2})["id"] == first["id"]
    conflict = call("iacq.enqueue", **asked, variables={"size": 3})["error"]
    assert (conflict["code"], conflict["field"]) == ("conflict", "idempotency_key")
    found = call("iacq.get_run", workspace="keyed", idempotency_key=asked["idempotency_key"])
    assert (found["id"], found["requested_by"]) == (first["id"], "celery")
    system.wait(system.client.get(first["id"]))


def test_what_is_secret_is_in_no_answer_and_no_log(system: System, call: Call, path):
    system.workspace("quiet", path)
    mark = system.mark()
    answer = call("iacq.enqueue", workspace="quiet", run_type="plan", variables={"size": 1, "token": "hush-hush"})
    refused = call("iacq.enqueue", workspace="quiet", run_type="plan", variables={"1x": "hush-hush"})
    assert "hush" not in str([answer, refused])
    system.wait(system.client.get(answer["id"]))
    assert not system.said("hush-hush", mark)


def test_answers_do_not_stay(system: System, call: Call, path):
    import redis

    system.workspace("gone", path)
    answer = call("iacq.enqueue", workspace="gone", run_type="plan")
    system.wait(system.client.get(answer["id"]))
    with contextlib.closing(redis.Redis(unix_socket_path=str(system.broker.socket))) as client:
        kept = list(client.scan_iter("celery-task-meta-*"))
        assert kept
        assert all(0 < client.ttl(key) <= 3600 for key in kept)
        client.delete(*kept)
        system.client.enqueue("gone", "plan")  # no other task stores a result
        system.wait(system.client.list(workspace="gone")[0])
        assert not list(client.scan_iter("celery-task-meta-*"))
