"""Plan, confirm, apply: in the same slot, in the same directory, without a second init."""

import json

import pytest

from iacq.domain.run import StartTier, Status
from tests.acceptance import configurations
from tests.acceptance.conftest import on_both
from tests.acceptance.system import System

NULL = """
terraform {
  required_providers {
    null = { source = "hashicorp/null" }
  }
}
variable "size" { type = number }
resource "null_resource" "it" { count = var.size }
output "ids" { value = null_resource.it[*].id }
"""


@on_both
def test_an_apply_continues_where_its_plan_ended(system: System, tmp_path):
    """docs/failures.md 10, 12, 13, 14: no second init, no second plan."""
    system.workspace("hot", configurations.write(tmp_path / "hot", NULL))
    planned = system.plan("hot", variables={"size": 3})
    assert (planned.status, planned.error_text) == (Status.APPLY_PENDING, None)
    assert "Plan: 3 to add" in system.log(planned, "plan")
    assert "3 to add" in system.client.plan_text(planned.id)

    system.confirm(planned)
    applied = system.wait(planned)

    assert (applied.status, applied.error_text) == (Status.APPLIED, None)
    assert applied.start_tier is StartTier.HOT
    assert system.spy.commands(planned.id) == ["init", "plan", "show", "show", "apply"]
    assert len({call.directory for call in system.spy.calls(run=planned.id)}) == 1
    log = system.log(applied, "apply")
    for said in ("Same agent", "Same pod", "Same slot", "Plan hash verified", "Skipping init AND plan restore"):
        assert f"✓ {said}" in log
    assert len(system.client.outputs("hot")["ids"]["value"]) == 3
    assert [(state.version, state.resources) for state in system.client.states("hot")] == [(1, 3)]
    assert [json.loads(system.client.pull_state("hot"))["serial"]] == [system.client.states("hot")[0].serial]
    assert system.history(applied) == [
        *("enqueued", "dispatched", "claimed", "finished"),
        *("confirmed", "dispatched", "claimed", "finished"),
    ]
    assert (applied.confirmed_by, applied.agent_id, applied.slot_id) == ("tester", planned.agent_id, planned.slot_id)
    assert applied.timings["apply"]["terraform"] > 0
    assert "init" not in applied.timings["apply"]

    again = system.plan("hot", variables={"size": 3})
    assert again.status is Status.PLANNED_AND_FINISHED
    assert "No changes" in system.log(again)


def test_an_output_alone_is_something_to_do(system: System, tmp_path):
    """docs/failures.md 6: the counts are 0, the exit code is not."""
    path = configurations.write(tmp_path / "output", 'output "it" { value = "one" }')
    system.workspace("output", path)
    assert system.apply("output").status is Status.APPLIED
    configurations.write(path, 'output "it" { value = "two" }')
    applied = system.apply("output")
    assert (applied.status, applied.changes.add) == (Status.APPLIED, 0)
    assert system.client.outputs("output")["it"]["value"] == "two"


def test_an_automatic_apply_passes_through_every_state(system: System, tmp_path):
    """docs/failures.md 4."""
    system.workspace("auto", configurations.write(tmp_path / "auto", configurations.COUNTED))
    run = system.wait(system.client.enqueue("auto", "plan_and_apply", auto_apply=True, by="robot"))
    assert (run.status, run.start_tier, run.confirmed_by) == (Status.APPLIED, StartTier.HOT, "robot")
    assert "auto_applied" in system.history(run)


@pytest.mark.parametrize("run_type", ["plan", "drift"])
def test_plans_that_cannot_be_applied_end_as_success(system: System, tmp_path, run_type):
    system.workspace(f"only-{run_type}", configurations.write(tmp_path / "only", configurations.COUNTED))
    run = system.plan(f"only-{run_type}", run_type)
    assert run.status is Status.SUCCESS
    assert "apply" not in system.spy.commands(run.id)


def test_destroy(system: System, tmp_path):
    system.workspace("gone", configurations.write(tmp_path / "gone", configurations.COUNTED))
    assert system.apply("gone", variables={"size": 2}).status is Status.APPLIED
    run = system.plan("gone", "destroy")
    assert run.changes.destroy == 2
    system.confirm(run)
    assert system.wait(run).status is Status.APPLIED
    assert [state.resources for state in system.client.states("gone")] == [0, 2]


def test_drift_is_shown_and_nothing_is_changed(system: System, tmp_path):
    system.workspace("drift", configurations.write(tmp_path / "drift", configurations.COUNTED))
    assert system.apply("drift").status is Status.APPLIED
    drift = system.plan("drift", "drift")
    assert drift.status is Status.SUCCESS
    assert len(system.client.states("drift")) == 1
