"""What a worker accepts from a queue."""

import base64
import json
import logging
from typing import Any

import pytest

from iacq import messages
from iacq.adapters.broker import connection
from iacq.adapters.messaging import inbox
from iacq.adapters.messaging.dispatcher import CeleryDispatcher
from iacq.adapters.messaging.inbox import Refused, admit
from iacq.adapters.messaging.refusals import Reason, Refusals
from iacq.domain import versions
from iacq.domain.run import Phase
from iacq.messages import Doorbell
from iacq.settings import Settings
from tests import envelopes
from tests.envelopes import envelope

TASKS = {messages.PLAN, messages.APPLY, messages.DISPATCH, messages.SIGNAL_RUN, messages.ENQUEUE, "celery.chord_unlock"}
GOOD = {"run_id": 1, "phase": "plan", "attempt": 1}


def read_body(message: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(message["body"]))


def test_a_bell_passes() -> None:
    admitted = admit(envelope(messages.PLAN, GOOD, headers={"origin": "gen1@here"}), "pod.1", TASKS)
    assert read_body(admitted) == [[], GOOD, {}]
    assert admitted["headers"] == {
        "task": "iacq.plan",
        "id": "0-0-0",
        "lang": "py",
        "origin": "gen1@here",
        "kwargsrepr": "",
        "expires": None,
        "ignore_result": True,
    }
    assert admitted["properties"]["delivery_info"] == {"exchange": "", "routing_key": "pod.1"}


def test_what_iacq_sends_passes(tmp_path, broker_url) -> None:
    import redis

    sender = CeleryDispatcher(lambda: connection.of_client(Settings(home=tmp_path, broker_url=broker_url)))
    sender.ring(Doorbell(run_id=1, phase=Phase.APPLY, attempt=3, queue="pod.1", workspace="network"))
    sender.ring_agent("pod", messages.SIGNAL_RUN, run_id=1, slot_id=2)
    sender.ring_control(messages.DISPATCH)
    sender.close()
    with redis.Redis(unix_socket_path=broker_url.removeprefix("redis+socket://")) as client:
        for queue in ("pod.1", "pod.agent", messages.CONTROL_QUEUE):
            admitted = admit(json.loads(client.lindex(queue, 0)), queue, TASKS)
            assert admitted["headers"]["task"] in TASKS
            assert json.loads(client.lindex(queue, 0))["headers"].items() >= messages.VERSION.items()
    assert admitted["headers"]["ignore_result"]


def test_callbacks_and_other_headers_do_not_pass() -> None:
    """Celery would send the callbacks on, wait for the chord, and set the limits."""
    body = [[], GOOD, {"callbacks": [{"task": "x"}], "chain": [{"task": "y"}], "chord": {"task": "z"}}]
    forged = envelope(
        messages.PLAN,
        body=envelopes.encode(json.dumps(body).encode()),
        headers={"timelimit": "never", "group": "g", "shadow": "iacq.apply", "retries": -1, "stamps": 1},
        properties={"reply_to": "elsewhere", "delivery_tag": {"a": 1}, "priority": "high"},
    )
    admitted = admit(forged, "pod.1", TASKS)
    assert read_body(admitted)[2] == {}
    assert not {"timelimit", "group", "shadow", "retries", "stamps"} & admitted["headers"].keys()
    assert "reply_to" not in admitted["properties"]
    assert isinstance(admitted["properties"]["delivery_tag"], str)


@pytest.mark.parametrize("found", [None, 42, "text", [1, 2, 3], {}, {"body": "", "headers": {}, "properties": {}}])
def test_what_is_no_message_is_refused(found: Any) -> None:
    with pytest.raises(Refused):
        admit(found, "pod.1", TASKS)


@pytest.mark.parametrize("what", envelopes.wrong("iacq.plan", GOOD))
def test_one_thing_wrong_is_enough(what: str) -> None:
    with pytest.raises(Refused):
        admit(envelopes.wrong(messages.PLAN, GOOD)[what], "pod.1", TASKS)


@pytest.mark.parametrize("kwargs", envelopes.WRONG_ARGUMENTS, ids=str)
def test_arguments_that_a_bell_does_not_take(kwargs: Any) -> None:
    with pytest.raises(Refused) as refused:
        admit(envelope(messages.PLAN, kwargs), "pod.1", TASKS)
    assert refused.value.reason is Reason.ARGUMENTS
    with pytest.raises(Refused):
        admit(envelope(messages.PLAN, GOOD, args=(1,)), "pod.1", TASKS)
    with pytest.raises(Refused):
        admit(envelope(messages.DISPATCH, GOOD), "iacq.control", TASKS)


@pytest.mark.parametrize("task", [*envelopes.UNKNOWN_TASKS, "iacq.answer"])
def test_tasks_that_this_worker_does_not_do(task: str) -> None:
    with pytest.raises(Refused) as refused:
        admit(envelope(task), "iacq.control", TASKS)
    assert refused.value.reason is Reason.TASK


def test_a_giant_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        admit(envelope(messages.PLAN, body="A" * (inbox.MAX_BODY + 1)), "pod.1", TASKS)
    assert refused.value.reason is Reason.TOO_LARGE


def test_a_call_may_have_any_arguments_and_is_answered_without_showing_them() -> None:
    headers = {"kwargsrepr": "{'variables': {'password': 'hush'}}", "argsrepr": "()"}
    admitted = admit(envelope(messages.ENQUEUE, {"any": ["thing"]}, args=(1,), headers=headers), "iacq.control", TASKS)
    assert read_body(admitted)[:2] == [[1], {"any": ["thing"]}]
    assert admitted["headers"]["ignore_result"] is False
    assert "hush" not in str(admitted["headers"])
    nobody = admit(envelope(messages.ENQUEUE, headers={"ignore_result": True}), "iacq.control", TASKS)
    assert nobody["headers"]["ignore_result"] is True


def test_refusals_are_counted_and_said_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    refusals = Refusals(clock=lambda: now)
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            refusals.add(Reason.TASK, "pod.1")
        refusals.add(Reason.NOT_JSON, "pod.1")
        now = 11.0
        refusals.add(Reason.TASK, "pod.1")
    assert refusals.counts == {Reason.TASK: 1001, Reason.NOT_JSON: 1}
    assert [record.getMessage() for record in caplog.records] == [
        "refused a message: task (1 so far)",
        "refused a message: not_json (1 so far)",
        "refused a message: task (1001 so far)",
    ]


def test_a_bell_says_which_protocol_its_reader_must_speak() -> None:
    """One of a newer version is refused, and counted; the outbox rings again for a run that nobody took."""
    newer = {"iacq_protocol": versions.PROTOCOL + 1}
    with pytest.raises(Refused) as refused:
        admit(envelope(messages.PLAN, {**GOOD, "unheard_of": 1}, headers=newer), "pod.1", TASKS)
    assert refused.value.reason is Reason.NEWER_VERSION
    with pytest.raises(Refused) as refused:
        admit(envelope("iacq.unheard_of", {}, headers=newer), "pod.1", TASKS)
    assert refused.value.reason is Reason.NEWER_VERSION
    for ours in (messages.VERSION, {"iacq_protocol": 1}, {}):
        assert read_body(admit(envelope(messages.PLAN, GOOD, headers=ours), "pod.1", TASKS)) == [[], GOOD, {}]


@pytest.mark.parametrize("nonsense", ["1", 0, -1, True, 1.0, [1]])
def test_a_protocol_that_is_none_is_refused(nonsense: object) -> None:
    with pytest.raises(Refused) as refused:
        admit(envelope(messages.PLAN, GOOD, headers={"iacq_protocol": nonsense}), "pod.1", TASKS)
    assert refused.value.reason is Reason.ENVELOPE
