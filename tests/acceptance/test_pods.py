"""A pod is told to stop, and starts again."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from iacq.domain.run import Run, StartTier, Status
from tests import processes
from tests.acceptance import configurations, fleet
from tests.acceptance.configurations import Gate
from tests.acceptance.conftest import on_both
from tests.acceptance.stubborn import lines, stubborn
from tests.acceptance.system import POD, System
from tests.waiting import wait_until


@contextlib.contextmanager
def stopping(system: System) -> Iterator[None]:
    """Ask the pod to stop; go on once its slots are closed; see in the end that nothing had to be killed."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(system.stop(POD)))
    thread.start()
    wait_until(lambda: not any(slot.usable for slot in system.client.slots()), 10, "the slots are closed")
    yield
    thread.join()
    assert codes == [0]


@on_both
def test_a_pod_that_stops_lets_an_apply_end_and_gives_the_rest_away(system: System, tmp_path, gate):
    """docs/failures.md 1, 3, 14, 29: what waits for a person goes on waiting, and starts warm in another boot."""
    system.stop(POD)
    system.start_agent(STOP_GRACE="120s")
    system.workspace("waits", configurations.write(tmp_path / "waits", configurations.COUNTED))
    waits = system.plan("waits")
    system.workspace("runs", configurations.write(tmp_path / "runs", gate.configuration()))
    runs = system.plan("runs")
    system.confirm(runs)
    gate.reached()
    with stopping(system):
        later = system.client.enqueue("waits", "plan")
        gate.open()
    runs = system.client.get(runs.id)
    assert (runs.status, runs.error_text) == (Status.APPLIED, None)
    assert not processes.working_in(system.settings.work_root)
    assert not system.client.pods()
    assert system.client.get(waits.id).status is Status.APPLY_PENDING
    assert system.client.get(later.id).status is Status.PENDING
    assert system.client.waiting(later).code == "no_agent"

    system.start_agent()
    assert system.wait(later).status is Status.SUCCESS
    system.confirm(waits)
    waits = system.wait(waits)
    assert (waits.status, waits.start_tier) == (Status.APPLIED, StartTier.WARM)
    assert "✗ Agent that planned it does not keep it any more" in system.log(waits, "apply")


def test_what_does_not_end_within_the_grace_is_interrupted_once(system: System, tmp_path, gate):
    """docs/failures.md 29: the state is saved; a plan is made again and that was not a try."""
    system.stop(POD)
    system.start_agent(STOP_GRACE="5s")
    system.workspace("applies", configurations.write(tmp_path / "applies", gate.configuration()))
    applies = system.plan("applies")
    system.confirm(applies)
    gate.reached()
    system.spy.hook('if [ "$1" = plan ]; then exec sleep 600; fi')
    system.workspace("plans", configurations.write(tmp_path / "plans", configurations.COUNTED))
    plans = system.client.enqueue("plans", "plan_and_apply")
    wait_until(lambda: "plan" in system.spy.commands(plans.id), 15, "the plan runs")
    assert system.stop(POD) == 0

    applies = system.client.get(applies.id)
    assert (applies.status, applies.error_code) == (Status.FAILED, "stopped")
    assert "first" in system.client.pull_state("applies").decode()
    plans = system.client.get(plans.id)
    assert (plans.status, plans.tries) == (Status.PENDING, 0)
    assert "stopped" in system.history(plans)
    system.spy.restore()
    system.start_agent()
    assert system.wait(plans, Status.APPLY_PENDING).status is Status.APPLY_PENDING


def test_an_adopted_apply_ends_in_a_stopping_pod(system: System, tmp_path, gate):
    """docs/failures.md 29: a slot's process was replaced while terraform went on; it reports the end all the same."""
    system.stop(POD)
    system.start_agent(STOP_GRACE="120s")
    adopted = adopted_apply(system, tmp_path, gate)
    with stopping(system):
        gate.open()
    adopted = system.client.get(adopted.id)
    assert (adopted.status, adopted.error_text) == (Status.APPLIED, None)
    assert len(system.spy.calls("apply", run=adopted.id)) == 1


def test_an_adopted_apply_is_interrupted_after_the_grace(system: System, tmp_path, gate):
    """docs/failures.md 29."""
    system.stop(POD)
    system.start_agent(STOP_GRACE="6s")
    adopted = adopted_apply(system, tmp_path, gate)
    assert system.stop(POD) == 0
    adopted = system.client.get(adopted.id)
    assert (adopted.status, adopted.error_code) == (Status.FAILED, "stopped")
    assert "first" in system.client.pull_state("held").decode()


def test_a_slot_that_dies_in_a_stopping_pod_is_replaced(system: System, tmp_path, gate):
    """docs/failures.md 9, 29: somebody must follow terraform to its end."""
    system.stop(POD)
    system.start_agent(STOP_GRACE="120s")
    run = held_apply(system, tmp_path, gate)
    slot = system.fleet().slot(run.slot_id)
    with stopping(system):
        fleet.kill(slot)
        system.until(run, lambda _: "adopted" in system.history(run), "the apply is adopted")
        gate.open()
    run = system.client.get(run.id)
    assert (run.status, run.error_text) == (Status.APPLIED, None)
    assert len(system.spy.calls("apply", run=run.id)) == 1


def test_a_slot_that_is_replaced_in_a_stopping_pod_interrupts_after_the_grace(system: System, tmp_path, gate):
    """docs/failures.md 9, 29: the grace of the pod, not one that begins anew."""
    system.stop(POD)
    system.start_agent(STOP_GRACE="8s")
    run = held_apply(system, tmp_path, gate)
    slot = system.fleet().slot(run.slot_id)
    with stopping(system):
        fleet.kill(slot)
    run = system.client.get(run.id)
    assert (run.status, run.error_code) == (Status.FAILED, "stopped")
    assert "first" in system.client.pull_state("held").decode()


def adopted_apply(system: System, tmp_path: Path, gate: Gate) -> Run:
    """Apply until terraform stands before the gate, and lose the slot's process: the next one takes over."""
    run = held_apply(system, tmp_path, gate)
    fleet.kill(system.fleet().slot(run.slot_id))
    return system.until(run, lambda _: "adopted" in system.history(run), "the apply is adopted")


def held_apply(system: System, tmp_path: Path, gate: Gate) -> Run:
    """Apply until terraform stands before the gate."""
    system.workspace("held", configurations.write(tmp_path / "held", gate.configuration()))
    run = system.plan("held")
    system.confirm(run)
    gate.reached()
    return system.client.get(run.id)


def test_a_terraform_that_does_not_stop_is_killed_with_all_it_started(system: System, tmp_path):
    """docs/failures.md 29: one SIGINT, the grace, then SIGKILL; a person learns what is known."""
    system.stop(POD)
    system.start_agent(STOP_GRACE="3s")
    system.workspace("deaf", configurations.write(tmp_path / "deaf", configurations.COUNTED))
    run = system.plan("deaf")
    marks = stubborn(system, "apply", tmp_path, "setsid sh -c 'trap : INT TERM; echo $$ >> {marks}/pids; sleep 600' &")
    system.confirm(run)
    wait_until(lambda: len(lines(marks / "pids")) == 2, 20, "the apply and its grandchild run")
    assert system.stop(POD) == 1
    assert lines(marks / "interrupts") == ["interrupted"]
    assert not any(processes.is_alive(int(pid)) for pid in lines(marks / "pids"))
    run = system.client.get(run.id)
    assert (run.status, run.error_code) == (Status.APPLY_INTERRUPTED, "interrupted")
    evidence = system.client.evidence(run.id)
    assert (evidence.cause, evidence.end_proven, evidence.resources) == ("end_unknown", True, ())
    assert system.client.resolve(run.id, applied=False, comment="nothing was made").status is Status.FAILED


def test_an_apply_that_has_not_begun_does_not_begin_in_a_stopping_pod(system: System, tmp_path, gate):
    """It was claimed, and prepares a cold start: it goes back, uncounted, and the next pod applies it."""
    system.workspace("early", configurations.write(tmp_path / "early", configurations.COUNTED))
    run = system.plan("early")
    system.stop(POD)
    system.start_agent()
    system.spy.change("another build")
    system.spy.hook(f'if [ "$1" = init ]; then {gate.script}; fi')
    system.confirm(run)
    gate.reached()
    with stopping(system):
        gate.open()
    back = system.client.get(run.id)
    assert (back.status, back.tries, back.effects_at) == (Status.CONFIRMED, 0, None)
    assert "apply" not in system.spy.commands(run.id)
    system.start_agent()
    assert system.wait(run).status is Status.APPLIED
    assert len(system.spy.calls("apply", run=run.id)) == 1


def test_without_terraform_a_run_says_what_is_missing(system: System, tmp_path):
    system.stop(POD)
    system.start_agent(TERRAFORM=str(tmp_path / "absent"))
    system.workspace("missing", configurations.write(tmp_path / "missing", configurations.COUNTED))
    run = system.plan("missing")
    assert run.status is Status.FAILED
    assert "absent" in run.error_text
    assert "IACQ_TERRAFORM" in run.error_text
    system.stop(POD)
