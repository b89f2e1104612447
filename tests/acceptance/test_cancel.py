"""Cancel works in every state, and ends what it cancels."""

import pytest

from iacq.domain.run import Status
from iacq.errors import Conflict
from tests import processes
from tests.acceptance import configurations
from tests.acceptance.configurations import Gate
from tests.acceptance.conftest import on_both
from tests.acceptance.stubborn import lines, stubborn
from tests.acceptance.system import System
from tests.waiting import wait_until


def free(system: System) -> bool:
    return all(slot.usable for slot in system.client.slots())


def test_what_waits_is_cancelled_at_once(system: System, tmp_path):
    """docs/failures.md 27, 30."""
    system.workspace("waits", configurations.write(tmp_path / "waits", configurations.COUNTED))
    system.client.lock_workspace("waits", reason="hands off")
    pending = system.client.enqueue("waits", "plan_and_apply")
    assert system.client.waiting(pending).code == "workspace_locked"
    assert system.client.cancel(pending.id).status is Status.CANCELLED
    system.client.unlock_workspace("waits")

    planned = system.plan("waits")
    system.client.lock_workspace("waits", reason="hands off")
    assert system.confirm(planned).status is Status.CONFIRMED
    assert system.client.cancel(planned.id).status is Status.CANCELLED
    system.client.unlock_workspace("waits")

    planned = system.plan("waits")
    assert system.client.cancel(planned.id).status is Status.CANCELLED
    assert free(system)
    with pytest.raises(Conflict, match="has ended already"):
        system.client.cancel(planned.id)
    assert system.apply("waits").status is Status.APPLIED


@pytest.mark.parametrize("phase", ["plan", "apply"])
def test_a_queued_run_is_cancelled_at_once(system: System, tmp_path, phase):
    system.workspace("queued", configurations.write(tmp_path / "queued", configurations.COUNTED))
    slots = [system.fleet().slot(number) for number in (1, 2, 3)]
    if phase == "apply":
        planned = system.plan("queued")
    with system.suspended(*slots):
        if phase == "apply":
            queued = system.confirm(planned)
            assert queued.status is Status.APPLY_QUEUED
        else:
            queued = system.client.enqueue("queued", "plan_and_apply")
            system.wait(queued, Status.PLAN_QUEUED)
        assert system.client.cancel(queued.id).status is Status.CANCELLED
    assert system.plan("queued").status is Status.APPLY_PENDING  # what lay in the queue did nothing
    assert "apply" not in system.spy.commands(queued.id)


@on_both
def test_a_plan_is_interrupted_once_and_killed_with_all_its_descendants(system: System, tmp_path):
    """docs/failures.md 28."""
    marks = stubborn(system, "plan", tmp_path, "setsid sh -c 'trap : INT TERM; echo $$ >> {marks}/pids; sleep 600' &")
    system.workspace("stubborn", configurations.write(tmp_path / "stubborn", configurations.COUNTED))
    run = system.client.enqueue("stubborn", "plan_and_apply")
    wait_until(lambda: len(lines(marks / "pids")) == 2, 20, "the plan and its grandchild run")
    system.client.cancel(run.id)
    wait_until(lambda: lines(marks / "interrupts"), 3, "SIGINT")
    system.client.cancel(run.id)  # again: fine, and no second signal
    run = system.wait(run)
    assert run.status is Status.CANCELLED
    assert lines(marks / "interrupts") == ["interrupted"]
    wait_until(lambda: not any(processes.is_alive(int(pid)) for pid in lines(marks / "pids")), 5, "all is dead")
    assert free(system)


def test_an_apply_needs_force_and_its_state_is_saved(system: System, tmp_path, gate: Gate):
    """docs/failures.md 28, 30."""
    system.workspace("forced", configurations.write(tmp_path / "forced", gate.configuration()))
    run = system.plan("forced")
    system.confirm(run)
    gate.reached()
    with pytest.raises(Conflict) as refused:
        system.client.cancel(run.id)
    assert refused.value.code == "needs_force"
    system.client.cancel(run.id, force=True)
    run = system.wait(run)
    assert (run.status, run.error_code) == (Status.CANCELLED, "cancelled")
    assert "terraform_data" in system.client.pull_state("forced").decode()
    assert "Interrupting terraform" in system.log(run, "apply")
    gate.open()
    assert system.apply("forced").status is Status.APPLIED


def test_an_apply_that_ends_well_all_the_same_is_applied(system: System, tmp_path):
    system.workspace("well", configurations.write(tmp_path / "well", configurations.COUNTED))
    run = system.plan("well")
    marks = tmp_path / "marks"
    marks.mkdir()
    script = f"trap 'touch {marks}/interrupted' INT; touch {marks}/started; while [ ! -e {marks}/interrupted ]; do"
    system.spy.hook(f'if [ "$1" = apply ]; then {script} sleep 0.05; done; trap - INT; fi')
    system.confirm(run)
    wait_until((marks / "started").exists, 20, "the apply runs")
    system.client.cancel(run.id, force=True)
    assert system.wait(run).status is Status.APPLIED


def test_an_apply_that_does_not_end_is_killed_and_interrupted(system: System, tmp_path):
    system.workspace("deaf", configurations.write(tmp_path / "deaf", configurations.COUNTED))
    run = system.plan("deaf")
    marks = stubborn(system, "apply", tmp_path, "setsid sh -c 'trap : INT TERM; echo $$ >> {marks}/pids; sleep 600' &")
    system.confirm(run)
    wait_until(lambda: len(lines(marks / "pids")) == 2, 20, "the apply and its grandchild run")
    system.client.cancel(run.id, force=True)
    wait_until(lambda: lines(marks / "interrupts"), 3, "SIGINT")
    run = system.wait(run, Status.APPLY_INTERRUPTED)
    assert run.status is Status.APPLY_INTERRUPTED
    assert lines(marks / "interrupts") == ["interrupted"]
    assert not any(processes.is_alive(int(pid)) for pid in lines(marks / "pids"))
    assert system.client.resolve(run.id, applied=False, comment="nothing was made").status is Status.FAILED


def test_phases_that_take_too_long_fail(make_system, tmp_path):
    system = make_system(PLAN_TIMEOUT="8s", APPLY_TIMEOUT="3s", CANCEL_GRACE_APPLY="1s", slots=1)
    system.workspace("slow", configurations.write(tmp_path / "slow", configurations.COUNTED))
    marks = stubborn(system, "apply", tmp_path)
    run = system.plan("slow")
    system.confirm(run)
    wait_until(lambda: lines(marks / "interrupts"), 10, "SIGINT")
    (marks / "open").touch()
    run = system.wait(run)
    assert (run.status, run.error_code) == (Status.FAILED, "timeout")
    assert lines(marks / "interrupts") == ["interrupted"]

    system.spy.hook('if [ "$1" = plan ]; then exec sleep 600; fi')
    run = system.plan("slow")
    assert (run.status, run.error_code, run.tries) == (Status.FAILED, "timeout", 1)

    # It ends well all the same.
    system.spy.hook('if [ "$1" = apply ]; then trap : INT; sleep 600; trap - INT; fi')
    run = system.plan("slow")
    system.confirm(run)
    run = system.wait(run)
    assert (run.status, run.error_code) == (Status.APPLIED, None)
    assert "Interrupting terraform (timeout)" in system.log(run, "apply")

    # It does not end at all.
    system.spy.hook('if [ "$1" = apply ]; then trap "" INT; sleep 600; fi')
    run = system.plan("slow", variables={"size": 2})
    system.confirm(run)
    run = system.wait(run, Status.APPLY_INTERRUPTED)
    assert run.status is Status.APPLY_INTERRUPTED
    assert "killed after its grace (timeout)" in run.error_text
    evidence = system.client.evidence(run.id)
    assert (evidence.end_proven, evidence.state.serial_before, evidence.state.serial_now) == (True, 1, 1)
    system.client.resolve(run.id, applied=False, comment="nothing was made")
    assert system.plan("slow", variables={"size": 2}).changes.add == 1
