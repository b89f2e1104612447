"""An apply that cannot start in the directory of its plan starts warm or cold, or fails, and says why."""

import json

import pytest
import sqlalchemy as sa

from iacq.domain.run import Run, StartTier, Status
from iacq.services import states
from iacq.store import states as state_rows
from iacq.store.protocol import waiting
from iacq.store.schema import artifacts
from tests.acceptance import configurations
from tests.acceptance.conftest import on_both
from tests.acceptance.system import POD, System
from tests.waiting import wait_until

MODULE = """
resource "terraform_data" "text" {
  input = path.cwd
  provisioner "local-exec" {
    command = "cat '${path.module}/template.txt' '${path.root}/.generated/made'"
  }
}
resource "terraform_data" "late" {
  input = templatefile("${path.module}/template.txt", { id = terraform_data.text.id })
}
output "text" { value = terraform_data.late.output }
output "cwd" { value = path.cwd }
"""


def directory(system: System, run: Run):
    """Return where the plan of a run ran."""
    slots = system.settings.work_root / "pods" / POD
    return next(slots.glob(f"slot-{run.slot_id}/{run.id}-*/tree"))


def lose_slot(system: System, run: Run) -> None:
    """Give the slot that is reserved for a run up."""
    slot = next(slot for slot in system.client.slots() if slot.run_id == run.id)
    assert system.database.attempt(waiting.give_up_reservation, run, slot) is not None


def planned(system: System, tmp_path, text: str = configurations.COUNTED) -> Run:
    system.workspace("cold", configurations.write(tmp_path / "cold", text))
    run = system.plan("cold")
    assert run.status is Status.APPLY_PENDING, run.error_text
    return run


@on_both
@pytest.mark.parametrize("what", ["plan", "lock", "lost lock", "terraform", "directory"])
def test_what_changed_since_the_plan_rules_out_a_hot_start(system: System, tmp_path, what):
    """docs/failures.md 11, 14, 16: the plan that was read is applied all the same, and the log says what differs."""
    null = 'resource "null_resource" "it" {}\n'
    run = planned(system, tmp_path, configurations.COUNTED + null)
    tree = directory(system, run)
    said = {
        "plan": "✗ Plan hash differs: planned",
        "lock": "✗ Lock file differs: planned",
        "lost lock": "✗ Lock file differs: planned",
        "terraform": "✗ terraform differs:",
        "directory": "✗ Preserved workspace is gone",
    }[what]
    match what:
        case "plan":
            (tree / "plan.out").write_bytes((tree / "plan.out").read_bytes()[:-1] + b"?")
        case "lock":
            with (tree / ".terraform.lock.hcl").open("a") as file:
                file.write("# changed\n")
        case "lost lock":
            (tree / ".terraform.lock.hcl").unlink()
        case "terraform":
            system.spy.change("another build")
        case "directory":
            tree.rename(tree.with_name("elsewhere"))
    system.confirm(run)
    run = system.wait(run)
    log = system.log(run, "apply")
    assert said in log, log
    tier = StartTier.COLD if what == "terraform" else StartTier.WARM
    assert (run.status, run.error_text, run.start_tier) == (Status.APPLIED, None, tier)
    inits = ["init"] if tier is StartTier.COLD else []
    assert system.spy.commands(run.id) == ["init", "plan", "show", "show", *inits, "apply"]
    assert "✓ Stored plan restored, hash verified" in log
    if tier is StartTier.WARM:
        assert "✓ Skipping init (using the restored workspace)" in log
        assert "init" not in run.timings["apply"]
    else:
        assert "✗ terraform differs: another build" in log


def test_another_slot_never_uses_the_directory(system: System, tmp_path):
    """docs/failures.md 11: its own slot is taken by another run meanwhile."""
    run = planned(system, tmp_path)
    tree = directory(system, run)
    lose_slot(system, run)
    system.workspace("other", configurations.write(tmp_path / "other", configurations.COUNTED))
    other = system.plan("other")
    assert other.slot_id == run.slot_id
    system.confirm(run)
    run = system.wait(run)
    assert (run.status, run.start_tier) == (Status.APPLIED, StartTier.WARM)
    assert run.slot_id != other.slot_id
    assert "✗ Agent that planned it does not keep it any more" in system.log(run, "apply")
    assert not (tree / "terraform.tfstate").exists()
    system.confirm(other)
    assert system.wait(other).start_tier is StartTier.HOT


@pytest.mark.parametrize("tier", [StartTier.WARM, StartTier.COLD])
def test_generated_files_modules_and_the_path_survive_every_start(system: System, tmp_path, tier):
    """docs/failures.md 16."""
    path = configurations.write(
        tmp_path / "cold", 'module "text" { source = "./text" }\noutput "all" { value = module.text }'
    )
    configurations.write(path / "text", MODULE)
    configurations.write(path / "text", "id ${id}\n", "template.txt")
    system.workspace("cold", path)
    system.spy.hook('if [ "$1" = plan ]; then mkdir -p .generated; echo made at plan time > .generated/made; fi')
    run = system.plan("cold")
    assert run.status is Status.APPLY_PENDING, run.error_text
    system.spy.restore()
    if tier is StartTier.COLD:
        system.spy.change("another build")
    lose_slot(system, run)
    for file in path.rglob("*"):
        if file.is_file():
            file.unlink()  # docs/failures.md 5: the source of now does not matter
    system.confirm(run)
    run = system.wait(run)
    assert (run.status, run.error_text, run.start_tier) == (Status.APPLIED, None, tier)
    log = system.log(run, "apply")
    assert "made at plan time" in log
    output = system.client.outputs("cold")["all"]["value"]
    assert output["text"].startswith("id ")
    assert {call.directory for call in system.spy.calls(run=run.id)} == {output["cwd"]}


def test_a_backend_of_its_own_needs_no_init_either(system: System, tmp_path, backend):
    run = planned(system, tmp_path, backend.configuration("mine", configurations.COUNTED, locks=True))
    lose_slot(system, run)
    system.confirm(run)
    run = system.wait(run)
    assert (run.status, run.error_text, run.start_tier) == (Status.APPLIED, None, StartTier.WARM)
    assert "✓ State is kept by the configuration's own backend" in system.log(run, "apply")
    assert json.loads(next(iter(backend.states.values())))["resources"]
    assert not backend.locks


def test_a_plan_of_an_older_state_is_refused(system: System, tmp_path):
    run = planned(system, tmp_path)
    newer = (
        b'{"version": 4, "terraform_version": "1.11.4", "serial": 7, "lineage": "b6d4c2a0-0000-4000-8000-000000000000",'
    )
    new = states.prepare(system.client._core, "cold", newer + b' "outputs": {}, "resources": []}')
    system.database.run(state_rows.add, "cold", new, run_id=None)
    system.confirm(run)
    run = system.wait(run)
    assert (run.status, run.error_code) == (Status.FAILED, "changed_since_plan")
    assert "State differs: planned from none, found serial 7" in run.error_text
    assert "apply" not in system.spy.commands(run.id)


def test_another_plan_than_the_confirmed_one_is_never_applied(system: System, tmp_path):
    """docs/failures.md 7, 13: what is stored has another hash, and the kept directory too."""
    run = planned(system, tmp_path)
    other = system.plan("cold", "plan", variables={"size": 7})
    (directory(system, run) / "plan.out").unlink()
    with system.database.transaction() as tx:
        found = tx.execute(sa.select(artifacts).where(artifacts.c.run_id == other.id, artifacts.c.kind == "plan")).one()
        tx.execute(
            artifacts.update()
            .where(artifacts.c.run_id == run.id, artifacts.c.kind == "plan")
            .values(key=found.key, sha256=found.sha256)
        )
    system.confirm(run)
    run = system.wait(run)
    assert run.status is Status.FAILED
    assert "apply" not in system.spy.commands(run.id)
    assert wait_until(lambda: all(slot.usable for slot in system.client.slots()), 10, "the slot is free")
