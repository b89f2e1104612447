"""A pool freezes under what runs there."""

import contextlib
import datetime as dt
import time
from collections.abc import Iterator

import pytest

from iacq.domain.run import Run, Status
from iacq.domain.slot import SlotStatus
from iacq.services.freeze_changes import NewWindow
from tests.acceptance import configurations
from tests.acceptance.conftest import on_both
from tests.acceptance.system import System
from tests.waiting import wait_until

REASON = "incident 42"


def back(system: System, run: Run, status: Status) -> Run:
    """Wait until a run was given back to where it waits, and check that this was not a try."""
    run = system.until(run, lambda run: run.status is status, f"run {run.id} is {status}")
    assert run.tries == 0
    assert "frozen" in system.history(run)
    why = system.client.waiting(run)
    assert why.code == "frozen_until"
    assert f"(by tester: {REASON})" in why.text
    return run


@on_both
def test_a_frozen_pool_lets_an_apply_end_and_begins_nothing(system: System, tmp_path, gate):
    """docs/failures.md 35: dispatch, slots and confirmations know of the freeze; what waited goes on by itself."""
    system.workspace("waits", configurations.write(tmp_path / "waits", configurations.COUNTED))
    waits = system.plan("waits")
    system.workspace("applies", configurations.write(tmp_path / "applies", gate.configuration()))
    applies = system.plan("applies")
    system.confirm(applies)
    gate.reached()
    system.spy.hook('if [ "$1" = plan ]; then exec sleep 600; fi')
    system.workspace("plans", configurations.write(tmp_path / "plans", configurations.COUNTED))
    plans = system.client.enqueue("plans", "plan_and_apply")
    wait_until(lambda: "plan" in system.spy.commands(plans.id), 15, "the plan runs")

    system.client.freeze("default", reason=REASON, until="2h")
    back(system, plans, Status.PENDING)
    confirmed = system.confirm(waits)
    assert confirmed.status is Status.CONFIRMED
    assert "frozen until " in system.client.waiting(confirmed).text
    wait_until(lambda: len([slot for slot in system.client.slots() if slot.run_id is None]) == 2, 15, "slots are free")
    assert not [slot for slot in system.client.slots() if slot.status is SlotStatus.RESERVED]
    assert system.client.get(applies.id).status is Status.APPLYING
    gate.open()
    assert system.wait(applies).status is Status.APPLIED
    system.spy.restore()
    system.ring("iacq.dispatch")
    assert [system.client.get(run.id).status for run in (waits, plans)] == [Status.CONFIRMED, Status.PENDING]

    system.client.lift_freeze("default", reason="it is over")
    assert system.wait(waits).status is Status.APPLIED
    assert len(system.spy.calls("apply", run=waits.id)) == 1
    assert system.wait(plans, Status.APPLY_PENDING).status is Status.APPLY_PENDING


def test_an_apply_that_has_not_begun_goes_back(system: System, tmp_path, gate):
    """It was claimed, and prepares a cold start: terraform does not begin to apply in a freeze."""
    system.workspace("early", configurations.write(tmp_path / "early", configurations.COUNTED))
    run = system.plan("early")
    system.client.freeze("default", reason=REASON)
    wait_until(lambda: not any(slot.run_id for slot in system.client.slots()), 15, "nothing is kept")
    system.client.lift_freeze("default", reason="it is over")
    system.spy.change("another build")  # of terraform: it has to start cold
    system.spy.hook(f'if [ "$1" = init ]; then {gate.script}; fi')
    system.confirm(run)
    gate.reached()
    system.client.freeze("default", reason=REASON)
    run = back(system, run, Status.CONFIRMED)
    assert run.effects_at is None
    assert "apply" not in system.spy.commands(run.id)
    gate.open()
    system.client.lift_freeze("default", reason="it is over")
    assert system.wait(run).status is Status.APPLIED
    assert len(system.spy.calls("apply", run=run.id)) == 1


def test_a_window_ends_by_itself(system: System, tmp_path):
    now = time.time()
    at, until = (dt.datetime.fromtimestamp(now + later, dt.UTC).isoformat("T", "milliseconds") for later in (-60, 4))
    found = system.client.add_freeze_window("default", NewWindow(name="short", at=at, until=until))
    assert found.frozen
    system.workspace("waits", configurations.write(tmp_path / "waits", configurations.COUNTED))
    run = system.client.enqueue("waits", "plan")
    assert system.wait(run).status is Status.SUCCESS
    events = system.client.freezes("default")[0].events[-3:]
    assert [(str(event.action), event.by) for event in events] == [
        ("window_added", "tester"),
        ("entered", None),
        ("left", None),
    ]
    assert system.client.events(run.id)[1].at >= events[2].at


@pytest.fixture
def without_grace(system: System) -> Iterator[System]:
    """Let the control worker interrupt applies at once."""
    system.kill("control")
    system.start("control", "-m", "workers.control", FREEZE_APPLY_GRACE="0")
    yield system
    with contextlib.suppress(KeyError):
        system.kill("control")  # tidying starts the usual one


def test_without_a_grace_an_apply_is_interrupted_once_and_its_state_saved(without_grace: System, tmp_path, gate):
    system = without_grace
    system.workspace("applies", configurations.write(tmp_path / "applies", gate.configuration()))
    run = system.plan("applies")
    system.confirm(run)
    gate.reached()
    system.client.freeze("default", reason=REASON)
    run = system.wait(run)
    assert (run.status, run.error_code) == (Status.FAILED, "frozen")
    assert "first" in system.client.pull_state("applies").decode()
    assert gate.visits() == 1
