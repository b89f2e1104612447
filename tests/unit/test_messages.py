"""Names on the broker: other services, Flower and running pods of an older version rely on them."""

from iacq import messages
from iacq.domain.run import Phase


def test_queues() -> None:
    assert messages.CONTROL_QUEUE == "iacq.control"
    assert messages.slot_queue("pod-1", 2) == "pod-1.2"
    assert messages.agent_queue("pod-1") == "pod-1.agent"


def test_what_people_see_of_bells() -> None:
    warmup = messages.WarmupBell(run_id=42, retry=2, queue="pod1.2", workspace="network")
    assert warmup.shown == messages.presentable(warmup.shown) == "run 42 warmup network"
    assert messages.presentable("run 42 warmup <script>") == "(hidden)"
    assert messages.takes(messages.WARMUP, (), {"run_id": 42, "retry": 2})
    for forged in (
        {"run_id": 42},
        {"run_id": 42, "retry": 0},
        {"run_id": 42, "retry": "2"},
        {"run_id": True, "retry": 1},
    ):
        assert not messages.takes(messages.WARMUP, (), forged)


def test_tasks() -> None:
    names = {
        name: value
        for name, value in vars(messages).items()
        if name.isupper() and isinstance(value, str) and name != "CONTROL_QUEUE"
    }
    assert all(value == f"iacq.{name.lower()}" for name, value in names.items())
    assert {"iacq.enqueue", "iacq.dispatch", "iacq.plan", "iacq.apply", "iacq.resend", "iacq.recover"} <= set(
        names.values()
    )
    assert {phase.value: task for phase, task in messages.PHASE_TASKS.items()} == {
        "plan": "iacq.plan",
        "apply": "iacq.apply",
    }
    assert set(messages.PHASE_TASKS) == set(Phase)
