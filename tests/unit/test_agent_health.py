import pytest

from iacq.domain import agent_health
from iacq.domain.agent_health import Health, Patience
from iacq.domain.run import Status, WarmupStatus
from iacq.domain.slot import GOING, Pod, PodStatus, Slot, SlotStatus
from tests import samples

PATIENCE = Patience(register=120_000, heartbeat=30_000, claim=60_000, forget=3_600_000)
SINCE = 1_000_000


@pytest.mark.parametrize(
    ("status", "heard_after", "now_after", "expected"),
    [
        (PodStatus.STARTING, None, 119_999, Health.AWAITED),
        (PodStatus.STARTING, None, 120_000, Health.MISSING),
        (PodStatus.STARTING, -5, 120_000, Health.MISSING),  # what the boot before said does not count
        (PodStatus.ONLINE, None, 30_000, Health.ONLINE),
        (PodStatus.ONLINE, None, 30_001, Health.SILENT),
        (PodStatus.ONLINE, 500_000, 530_000, Health.ONLINE),
        (PodStatus.ONLINE, 500_000, 530_001, Health.SILENT),
        (PodStatus.ONLINE, 500_000, 499_000, Health.ONLINE),  # two clocks of one database need not agree
        *((status, 500_000, 530_000, Health.ONLINE) for status in sorted(GOING)),
        *((status, 500_000, 530_001, Health.SILENT) for status in sorted(GOING)),
        (PodStatus.OFFLINE, -30_000, 119_999, Health.OFFLINE),
        (PodStatus.OFFLINE, -30_000, 120_000, Health.LOST),
        (PodStatus.OFFLINE, 119_999, 119_999, Health.OFFLINE),  # it must register anew before it counts
    ],
)
def test_silence(status, heard_after, now_after, expected):
    heard = None if heard_after is None else SINCE + heard_after
    pod = Pod(
        name="pod1",
        agent_id="boot",
        pool="default",
        slots=1,
        status=status,
        created_at=0,
        last_heartbeat=heard,
        since=SINCE,
    )
    assert agent_health.judge(pod, now=SINCE + now_after, patience=PATIENCE) is expected


def test_every_status_is_judged():
    for status in PodStatus:
        pod = Pod(
            name="p", agent_id=None, pool="d", slots=1, status=status, created_at=0, last_heartbeat=None, since=SINCE
        )
        assert agent_health.judge(pod, now=SINCE, patience=PATIENCE) in {Health.AWAITED, Health.ONLINE, Health.OFFLINE}


@pytest.mark.parametrize(
    ("warmup", "after", "expected"),
    [
        (WarmupStatus.NONE, 59_999, True),
        (WarmupStatus.NONE, 60_000, False),
        (WarmupStatus.READY, 60_000, False),
        (WarmupStatus.WARMING, 600_000, True),
    ],
)
def test_the_time_to_claim(warmup, after, expected):
    slot = Slot(
        pod_name="pod1",
        slot_id=1,
        agent_id="boot",
        pool="default",
        status=SlotStatus.RUNNING,
        run_id=7,
        task_type="plan_and_apply",
        closed=None,
        protocol=1,
        updated_at=SINCE,
    )
    run = samples.run(Status.APPLY_QUEUED, id=7, warmup_status=warmup)
    assert agent_health.answers(slot, run, now=SINCE + after, patience=PATIENCE) is expected
