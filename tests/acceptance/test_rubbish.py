"""Whatever lies in a queue: the worker lives on, nothing happens, and the next message is handled."""

import contextlib
import json
import re
from collections.abc import Iterator

import pytest
import redis

from iacq import messages
from iacq.domain.run import Status
from tests import envelopes
from tests.acceptance import configurations
from tests.acceptance.system import POD, System
from tests.envelopes import envelope
from tests.waiting import wait_until

MARK = "planted-in-a-body"
SLOT = {"run_id": 1, "phase": "plan", "attempt": 1}


@pytest.fixture
def broker(system: System) -> Iterator[redis.Redis]:
    with contextlib.closing(redis.Redis(unix_socket_path=str(system.broker.socket))) as client:
        yield client


@pytest.fixture
def taken(broker: redis.Redis) -> set[bytes]:
    """Give what was taken and not acknowledged before: by processes that earlier tests killed, Redis keeps it."""
    return set(broker.hkeys("unacked"))


def queues(system: System) -> dict[str, str]:
    """Name every queue, with a task that its worker does."""
    slots = {messages.slot_queue(POD, number): messages.PLAN for number in range(1, system.slots + 1)}
    return {messages.CONTROL_QUEUE: messages.DISPATCH, messages.agent_queue(POD): messages.REMOVE_WORK_DIRS, **slots}


def handled(system: System, broker: redis.Redis, taken: set[bytes]) -> None:
    """Wait until nothing waits in any queue, nor was taken since and not acknowledged."""
    wait_until(lambda: not any(broker.llen(queue) for queue in queues(system)), 30, "every message is taken")
    wait_until(lambda: set(broker.hkeys("unacked")) <= taken, 15, "every message is acknowledged")


def test_rubbish_in_every_queue_is_a_counted_warning(system: System, broker: redis.Redis, taken: set[bytes], tmp_path):
    """docs/failures.md 37."""
    system.workspace("calm", configurations.write(tmp_path / "calm", configurations.COUNTED))
    waits = system.plan("calm")
    before, mark, pids = system.row(waits), system.mark(), set(system.family(POD))
    control = system.programs["control"].pid
    for queue, task in queues(system).items():
        for raw in envelopes.NO_MESSAGES:
            broker.lpush(queue, raw)
        kwargs = SLOT if task == messages.PLAN else {}
        for message in envelopes.wrong(task, {**kwargs, "x": MARK}).values():
            broker.lpush(queue, json.dumps(message))
        for other in envelopes.UNKNOWN_TASKS:
            broker.lpush(queue, json.dumps(envelope(other, {"x": MARK})))
        for wrong in envelopes.WRONG_ARGUMENTS:
            broker.lpush(queue, json.dumps(envelope(task, {**wrong, "x": MARK})))
    handled(system, broker, taken)

    assert set(system.family(POD)) == pids, "a worker of the pod ended"
    assert system.programs["control"].pid == control
    assert system.programs["control"].poll() is None
    assert system.row(waits) == before
    said = system.said_since(mark)
    for word in (MARK, "Traceback", "CRITICAL", "ERROR", "unpickled"):
        assert word not in said
    line = r"refused a message: (\w+) \((\d+) so far\)"
    assert len(re.findall(line, said)) < 200, "a warning for each message"
    # From the beginning: each reason is said once in a while, and another test may have given the same one.
    reasons = {reason for reason, _ in re.findall(line, system.said_since({}))}
    assert {"not_json", "envelope", "content_type", "task", "arguments", "scheduled"} <= reasons
    # Every queue still works: a plan in another slot, a cancel through housekeeping, the confirmed apply in its own.
    assert system.plan("calm", "plan").status is Status.SUCCESS
    system.confirm(waits)
    assert system.wait(waits).status is Status.APPLIED


def test_rubbish_for_remote_control_ends_nobody(system: System, broker: redis.Redis, tmp_path):
    pids = set(system.family(POD))
    channel = "/0.celery.pidbox"
    listeners = system.slots + 2
    wait_until(lambda: broker.publish(channel, "null") == listeners, 20, "every worker listens")
    for raw in [*envelopes.NO_MESSAGES, json.dumps(envelope("ping")), json.dumps(envelope("ping", [1]))]:
        wait_until(lambda raw=raw: broker.publish(channel, raw) == listeners, 20, "every worker listens again")
    assert set(system.family(POD)) == pids, "a worker of the pod ended"
    assert system.programs["control"].poll() is None
    system.workspace("ruled", configurations.write(tmp_path / "ruled", configurations.COUNTED))
    assert system.plan("ruled", "plan").status is Status.SUCCESS


def test_giants_are_thrown_away(system: System, broker: redis.Redis, taken: set[bytes], tmp_path):
    giant = json.dumps(envelope(messages.PLAN, body="A" * 50_000_000))
    pids = set(system.family(POD))
    for queue in (messages.CONTROL_QUEUE, messages.agent_queue(POD), messages.slot_queue(POD, 1)):
        broker.lpush(queue, giant)
    handled(system, broker, taken)
    assert set(system.family(POD)) == pids
    system.workspace("after", configurations.write(tmp_path / "after", configurations.COUNTED))
    assert system.plan("after", "plan").status is Status.SUCCESS


def test_forged_messages_change_nothing(system: System, broker: redis.Redis, taken: set[bytes], tmp_path):
    """docs/failures.md 1: well-formed messages about a run that nobody confirmed."""
    system.workspace("forged", configurations.write(tmp_path / "forged", configurations.COUNTED))
    waits = system.plan("forged")
    before = system.row(waits)
    for number in range(1, system.slots + 1):
        queue = messages.slot_queue(POD, number)
        for attempt in (0, before["attempt"], before["attempt"] + 1, 2**31 - 1):
            for task, phase in ((messages.APPLY, "apply"), (messages.PLAN, "plan")):
                arguments = {"run_id": waits.id, "phase": phase, "attempt": attempt}
                broker.lpush(queue, json.dumps(envelope(task, arguments)))
        broker.lpush(queue, json.dumps(envelope(messages.ANSWER)))
        signal = {"run_id": waits.id, "slot_id": number}
        broker.lpush(messages.agent_queue(POD), json.dumps(envelope(messages.SIGNAL_RUN, signal)))
    broker.lpush(messages.agent_queue(POD), json.dumps(envelope(messages.SIGNAL_RUN, {"run_id": 1, "slot_id": 99})))
    broker.lpush(messages.agent_queue(POD), json.dumps(envelope(messages.REMOVE_WORK_DIRS)))
    for task in (messages.RECOVER, messages.CHECK_AGENTS, messages.EXPIRE_PLANS, messages.CLEANUP_WORK_DIRS):
        for _ in range(5):
            broker.lpush(messages.CONTROL_QUEUE, json.dumps(envelope(task)))
    handled(system, broker, taken)
    assert system.plan("forged", "plan").status is Status.SUCCESS
    assert system.row(waits) == before
    assert not system.spy.calls("apply", run=waits.id)
    system.confirm(waits)
    applied = system.wait(waits)
    assert (applied.status, applied.start_tier) == (Status.APPLIED, "hot")
    assert len(system.spy.calls("apply", run=waits.id)) == 1
