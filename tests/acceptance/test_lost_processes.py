"""Any process of a pod may be killed at any time: nothing is applied twice, nothing that was confirmed is lost."""

import os
import signal

import pytest

from iacq.domain.run import Run, StartTier, Status
from iacq.errors import Conflict
from iacq.keeper import files
from tests import processes
from tests.acceptance import configurations, fleet
from tests.acceptance.configurations import Gate
from tests.acceptance.conftest import on_both
from tests.acceptance.system import POD, System
from tests.waiting import wait_until


def start_apply(system: System, gate: Gate, path, *, after: str = "true") -> Run:
    """Apply until terraform stands before the gate."""
    system.workspace("gated", configurations.write(path, gate.configuration(after=after)))
    run = system.plan("gated")
    system.confirm(run)
    gate.reached()
    return system.client.get(run.id)


def end_applied(system: System, gate: Gate, run: Run) -> Run:
    """Open the gate, and see that the one terraform that was started ended well."""
    gate.open()
    run = system.wait(run)
    assert (run.status, run.error_text) == (Status.APPLIED, None)
    assert len(system.spy.calls("apply", run=run.id)) == gate.visits() == 1
    assert system.client.outputs("gated")["done"]["value"] == "last"
    assert "Apply complete" in system.log(run, "apply")
    return run


@on_both
def test_the_death_of_a_slot_does_not_disturb_its_apply(system: System, tmp_path, gate):
    """docs/failures.md 9, 26."""
    run = start_apply(system, gate, tmp_path / "gated")
    fleet.kill(system.fleet().slot(run.slot_id))
    system.until(run, lambda _: "adopted" in system.history(run), "the apply is adopted")
    assert end_applied(system, gate, run).start_tier is StartTier.HOT


def test_the_plan_of_a_dead_slot_is_made_again_at_once(system: System, tmp_path, gate):
    system.spy.hook(f'if [ "$1" = plan ]; then {gate.script}; fi')
    system.workspace("again", configurations.write(tmp_path / "again", configurations.COUNTED))
    run = system.client.enqueue("again", "plan_and_apply")
    gate.reached()
    terraform = system.fleet().launch(run.id, "plan")
    fleet.kill(system.fleet().slot(system.client.get(run.id).slot_id))
    wait_until(lambda: not terraform.running, 15, "the living plan is killed")
    gate.open()
    run = system.wait(run, Status.APPLY_PENDING)
    assert run.status is Status.APPLY_PENDING
    assert "plan_killed" in system.history(run)
    assert "lease_lost" not in system.history(run)
    system.confirm(run)
    assert system.wait(run).start_tier is StartTier.HOT


@pytest.mark.parametrize(("after", "end"), [("true", Status.APPLIED), ("exit 3", Status.FAILED)])
def test_the_death_of_a_keeper_leaves_terraform_and_its_exit_code(system: System, tmp_path, gate, after, end):
    run = start_apply(system, gate, tmp_path / "gated", after=after)
    slot = system.fleet().slot(run.slot_id)
    fleet.kill(system.fleet().launch(run.id).keeper_pid)
    gate.open()
    run = system.wait(run)
    assert run.status is end, run.error_text
    wait_until(lambda: not processes.is_alive(slot), 15, "the slot that lost its keeper is replaced")
    assert len(system.spy.calls("apply", run=run.id)) == 1
    if end is Status.FAILED:
        assert "exit status 3" in run.error_text


def test_an_apply_that_vanished_is_for_a_person_to_resolve(system: System, tmp_path, gate):
    """docs/failures.md 9, 30."""
    run = start_apply(system, gate, tmp_path / "gated")
    launch = system.fleet().launch(run.id)
    with pytest.raises(Conflict, match="not interrupted"):
        system.client.resolve(run.id, applied=True, comment="too early")
    fleet.kill(system.fleet().slot(run.slot_id), launch.keeper_pid, launch.pid)
    run = system.wait(run, Status.APPLY_INTERRUPTED)
    assert (run.status, run.error_code) == (Status.APPLY_INTERRUPTED, "interrupted")
    assert len(system.spy.calls("apply", run=run.id)) == 1
    with pytest.raises(Conflict, match="interrupted"):
        system.client.cancel(run.id, force=True)
    later = system.client.enqueue("gated", "plan_and_apply")
    assert system.client.waiting(later).code == "interrupted_run"
    assert "first" in system.client.pull_state("gated").decode()  # what was made is known

    gate.open()
    wait_until(lambda: all(slot.run_id is None for slot in system.client.slots()), 15, "its end is proven")
    resolved = system.client.resolve(run.id, applied=False, comment="nothing but the first was made")
    assert resolved.status is Status.FAILED
    later = system.wait(later, Status.APPLY_PENDING)
    system.confirm(later)
    assert system.wait(later).status is Status.APPLIED


def test_an_apply_that_may_be_alive_is_not_resolved_without_force(system: System, tmp_path, gate):
    run = start_apply(system, gate, tmp_path / "gated")
    with system.suspended(system.fleet().slot(run.slot_id)):
        run = system.wait(run, Status.APPLY_INTERRUPTED)
        with pytest.raises(Conflict, match="may still be alive") as refused:
            system.client.resolve(run.id, applied=True, comment="it looks good")
        assert refused.value.code == "end_not_proven"

        # The process that lost the run may report its true end late, and nothing else.
        gate.open()
        result = system.fleet().launch(run.id)
        wait_until(lambda: not result.running, 15, "terraform ends")
    run = system.wait(run)
    assert run.status is Status.APPLIED
    assert "late_report" in system.history(run)
    assert [state.resources for state in system.client.states("gated")] == [3]


@on_both
def test_all_but_the_keeper_may_die(system: System, tmp_path, gate):
    """docs/failures.md 1, 26."""
    run = start_apply(system, gate, tmp_path / "gated")
    kill_all_but_keepers(system)
    system.start_control()
    system.start_agent()
    system.until(run, lambda _: "adopted" in system.history(run), "the apply is adopted")
    end_applied(system, gate, run)


def test_an_apply_that_ends_while_nobody_is_there_is_reported_later(system: System, tmp_path, gate):
    run = start_apply(system, gate, tmp_path / "gated")
    job = next((system.settings.work_root / "pods" / POD).glob(f"slot-*/jobs/{run.id}-*-apply"))
    kill_all_but_keepers(system)
    gate.open()
    wait_until(lambda: files.read_result(job), 15, "the keeper notes the end")
    system.start_control()
    system.start_agent()
    end_applied(system, gate, run)


def kill_all_but_keepers(system: System) -> None:
    """SIGKILL agent, fork server, slots, housekeeping, control and beat."""
    pod = system.fleet()
    doomed = [pid for pid in pod.family() if fleet.name_of(pid).startswith(("iacq-slot", "iacq-house", "iacq-fork"))]
    os.kill(pod.agent, signal.SIGSTOP)  # else it would start them again
    fleet.send(signal.SIGKILL, doomed)
    for name in list(system.programs):
        system.kill(name)
