"""What is known about an apply that was interrupted, and what is done about it."""

import signal

import pytest

from iacq.domain.run import Run, Status
from iacq.errors import Conflict, NotFound
from tests import processes
from tests.acceptance import configurations, fleet
from tests.acceptance.configurations import Gate
from tests.acceptance.http_backend import HttpBackend
from tests.acceptance.system import POD, System
from tests.waiting import wait_until


def start_apply(system: System, gate: Gate, name: str) -> Run:
    """Apply until terraform stands before the gate, its first resource made."""
    run = system.plan(name)
    system.confirm(run)
    gate.reached()
    wait_until(lambda: "Creation complete" in system.log(run, "apply"), 10, "it is logged that the first one is made")
    return system.client.get(run.id)


def lose_pod(system: System) -> None:
    """SIGKILL everything of the pod, keepers and terraform included, as when its machine dies."""
    family = system.fleet().family()
    scripts = [found.pid for found in processes.working_in(system.settings.work_root)]
    fleet.send(signal.SIGSTOP, family)  # else one of them would act on the death of another
    fleet.kill(*family, *scripts)
    system.programs.pop(POD).wait(60)


def test_a_lost_pod_leaves_evidence_and_no_resource_is_forgotten(system: System, tmp_path, gate):
    """docs/failures.md 9, 29: all of it comes from the database; the next plan knows what was made."""
    system.workspace("lost", configurations.write(tmp_path / "lost", gate.configuration()))
    run = start_apply(system, gate, "lost")
    states = system.database
    wait_until(lambda: _working(states, "lost"), 10, "the working state is stored")
    lose_pod(system)
    run = system.wait(run, Status.APPLY_INTERRUPTED)
    evidence = system.client.evidence(run.id)
    assert (evidence.cause, evidence.end_proven) == ("lease_lost", False)
    assert (evidence.pod_name, evidence.slot_id, evidence.agent_id) == (POD, run.slot_id, run.agent_id)
    assert evidence.lease_until <= evidence.interrupted_at
    assert evidence.state.serial_before is None
    assert (evidence.state.resources_now, evidence.state.version) == (1, None)
    seen = {resource.address: (resource.action, resource.status) for resource in evidence.resources}
    assert seen == {"terraform_data.first": ("create", "done"), "terraform_data.gate": ("create", "running")}
    assert evidence.resources[0].id

    with pytest.raises(Conflict) as refused:
        system.client.resolve(run.id, applied=False, comment="the pod is gone")
    assert refused.value.code == "end_not_proven"
    system.client.resolve(run.id, applied=False, comment="the machine was destroyed", force=True)
    assert [version.resources for version in system.client.states("lost")] == [1]
    assert not system.client.evidence(run.id).end_proven
    system.start_agent()
    gate.open()
    again = system.plan("lost")
    assert again.changes.add == 2


def test_a_pod_that_comes_back_keeps_what_its_dead_apply_left(system: System, tmp_path, gate):
    system.workspace("back", configurations.write(tmp_path / "back", gate.configuration()))
    run = start_apply(system, gate, "back")
    directory = next((system.settings.work_root / "pods" / POD).glob(f"slot-*/jobs/{run.id}-*-apply"))
    lose_pod(system)
    with (directory / "out").open("a") as output:  # what the slot had not logged before it died
        output.write('{"@level":"info","@message":"terraform_data.gate: Creation complete after 1s [id=7]"}\n')
    run = system.wait(run, Status.APPLY_INTERRUPTED)
    system.start_agent()
    wait_until(lambda: system.client.evidence(run.id).end_proven, 20, "its end is proven")
    evidence = system.client.evidence(run.id)
    assert (evidence.state.version, evidence.state.resources_now) == (1, 1)
    assert [seen.status for seen in evidence.resources] == ["done", "done"]
    assert evidence.resources[1].id == "7"
    assert system.client.resolve(run.id, applied=False, comment="only the first").status is Status.FAILED
    assert system.client.evidence(run.id).end_proven


def kill_apply(system: System, run: Run) -> Run:
    """SIGKILL terraform while it applies: its lock stays in the backend."""
    fleet.kill(system.fleet().launch(run.id).pid)
    run = system.wait(run, Status.APPLY_INTERRUPTED)
    assert run.status is Status.APPLY_INTERRUPTED
    return run


def test_the_lock_of_a_dead_apply_is_told_from_a_living_one(system: System, tmp_path, gate, backend: HttpBackend):
    """docs/failures.md 32."""
    text = backend.configuration("locked", gate.configuration(), locks=True)
    system.workspace("locked", configurations.write(tmp_path / "locked", text))
    dead = kill_apply(system, start_apply(system, gate, "locked"))
    gate.open()
    evidence = system.client.evidence(dead.id)
    assert (evidence.cause, evidence.end_proven, evidence.state) == ("end_unknown", True, None)
    with pytest.raises(Conflict, match=f"run {dead.id} holds the state"):
        system.client.unlock_state("locked")
    system.client.resolve(dead.id, applied=False, comment="one resource was made")

    met = system.apply("locked")
    held = backend.locks["locked"]["ID"]
    assert (met.status, met.error_code) == (Status.FAILED, "state_locked")
    assert f"ID {held}" in met.error_text
    assert f"the apply of run {dead.id} was killed" in met.error_text
    assert f"iacq state unlock locked --lock-id {held}" in met.error_text
    with pytest.raises(Conflict) as refused:  # the http backend does not say whose it is: a person says so
        system.client.unlock_state("locked")
    assert refused.value.code == "lock_not_ours"
    removing = system.client.unlock_state("locked", lock_id=held)
    removing = system.wait(removing, Status.APPLY_PENDING)
    assert not backend.locks
    assert "successfully unlocked" in system.log(removing, "plan")
    system.confirm(removing)
    assert system.wait(removing).status is Status.APPLIED


def test_the_lock_of_somebody_else_is_not_removed_without_force(system: System, tmp_path, backend: HttpBackend):
    """docs/failures.md 32."""
    text = backend.configuration("theirs", configurations.COUNTED, locks=True)
    system.workspace("theirs", configurations.write(tmp_path / "theirs", text))
    run = system.plan("theirs")
    backend.locks["theirs"] = {"ID": "1234", "Who": "eve@laptop"}
    system.confirm(run)
    run = system.wait(run)
    assert run.error_code == "state_locked"
    assert "not by an apply of this workspace" in run.error_text
    with pytest.raises(Conflict) as refused:
        system.client.unlock_state("theirs", lock_id="1234")
    assert refused.value.code == "lock_not_ours"
    with pytest.raises(NotFound, match="met the lock nobodys"):
        system.client.unlock_state("theirs", lock_id="nobodys")
    assert backend.locks
    removing = system.client.unlock_state("theirs", force=True, reason="eve went home")
    assert "eve went home" in removing.message
    system.wait(removing, Status.APPLY_PENDING)
    assert not backend.locks


def _working(database, workspace):
    from iacq.store import states

    return database.read(states.working, workspace)
