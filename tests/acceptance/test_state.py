"""The state: managed by iacq, or kept by the configuration's own backend."""

import json

import pytest

from iacq.domain.run import Status
from iacq.errors import Conflict, InvalidInput, NotFound
from tests.acceptance import configurations
from tests.acceptance.http_backend import HttpBackend
from tests.acceptance.system import System

FAILS = """
variable "fails" { default = "no" }
resource "terraform_data" "first" { input = "first" }
resource "terraform_data" "second" {
  depends_on = [terraform_data.first]
  input      = var.fails
  provisioner "local-exec" { command = "test ${var.fails} = no || { echo sorry, no; exit 7; }" }
}
"""


def test_the_state_of_a_failed_apply_is_kept(system: System, tmp_path):
    """docs/failures.md 29, 30, 31: the part that was made is known, the log says all, and the workspace is free."""
    system.workspace("part", configurations.write(tmp_path / "part", FAILS))
    failed = system.apply("part", variables={"fails": "yes"})
    assert (failed.status, failed.error_code) == (Status.FAILED, "terraform")
    assert "exit status 7" in failed.error_text
    log = system.log(failed, "apply")
    assert "sorry, no" in log
    assert "State saved: version 1" in log
    state = json.loads(system.client.pull_state("part"))
    assert state["resources"][0]["instances"][0]["attributes"]["input"]["value"] == "first"
    assert system.client.outputs("part") == {}, "as `terraform output` has it: what the state says"

    again = system.plan("part")
    assert (again.changes.add, again.changes.destroy) == (1, 1)  # the tainted one
    system.confirm(again)
    assert system.wait(again).status is Status.APPLIED
    versions = system.client.states("part")
    assert [version.version for version in versions] == [2, 1]
    assert versions[0].serial > versions[1].serial
    assert versions[0].lineage == versions[1].lineage
    assert json.loads(system.client.pull_state("part", version=1))["serial"] == versions[1].serial

    with pytest.raises(Conflict, match="2 resources"):
        system.client.delete_workspace("part")
    assert system.apply("part", "destroy").status is Status.APPLIED
    system.client.delete_workspace("part")
    with pytest.raises(NotFound):
        system.client.workspace("part")


def test_a_state_that_cannot_be_read_fails_the_run_and_says_so(system: System, tmp_path):
    """docs/failures.md 31: terraform ended well, but its state is broken: the run ends, and nothing is stored."""
    system.workspace("torn", configurations.write(tmp_path / "torn", FAILS))
    system.spy.hook('if [ "$1" = apply ]; then "$REAL" "$@"; code=$?; echo "{torn" > terraform.tfstate; exit $code; fi')
    run = system.apply("torn")
    assert (run.status, run.error_code) == (Status.FAILED, "state_not_saved")
    assert "State not saved" in system.log(run, "apply")
    assert system.client.states("torn") == []


def test_a_local_backend_is_managed_wherever_it_wants_its_file(system: System, tmp_path):
    elsewhere = tmp_path / "elsewhere.tfstate"
    text = f'terraform {{\n  backend "local" {{ path = "{elsewhere}" }}\n}}\n' + configurations.COUNTED
    system.workspace("local", configurations.write(tmp_path / "local", text))
    assert system.apply("local").status is Status.APPLIED
    assert [state.resources for state in system.client.states("local")] == [1]
    assert not elsewhere.exists()
    assert system.plan("local").status is Status.PLANNED_AND_FINISHED


def test_a_configuration_with_its_own_backend_keeps_it(system: System, tmp_path, backend: HttpBackend):
    text = backend.configuration("mine", configurations.COUNTED)
    system.workspace("own", configurations.write(tmp_path / "own", text))
    applied = system.apply("own", variables={"size": 2})
    assert (applied.status, applied.error_text) == (Status.APPLIED, None)
    assert len(json.loads(backend.states["mine"])["resources"][0]["instances"]) == 2
    assert not system.client.states("own")
    assert system.client.outputs("own")["size"]["value"] == 2
    assert "kept by the configuration's own backend (http)" in system.log(applied, "plan")


def test_a_state_that_its_backend_does_not_take_is_kept(system: System, tmp_path, backend: HttpBackend):
    """docs/failures.md 29: terraform's errored.tfstate outlives the directory, and the run says how to push it."""
    text = backend.configuration("full", configurations.COUNTED)
    system.workspace("full", configurations.write(tmp_path / "full", text))
    run = system.plan("full")
    backend.takes_writes = False
    system.confirm(run)
    run = system.wait(run)
    assert (run.status, run.error_code) == (Status.FAILED, "state_not_saved")
    assert f"iacq state pull full --errored {run.id}" in run.error_text
    assert "terraform state push" in run.error_text
    assert "errored.tfstate" in system.log(run, "apply")

    kept = system.client.pull_errored_state("full", run.id)
    assert len(json.loads(kept)["resources"][0]["instances"]) == 1
    backend.states["full"] = kept  # as `terraform state push` does it
    backend.takes_writes = True
    again = system.plan("full")
    assert again.status is Status.PLANNED_AND_FINISHED
    with pytest.raises(NotFound, match="left no errored"):
        system.client.pull_errored_state("full", again.id)
    with pytest.raises(Conflict) as refused:
        system.client.push_state("full", kept)
    assert refused.value.code == "own_backend"


def test_a_state_in_the_source_is_neither_lost_nor_taken_silently(system: System, tmp_path):
    path = configurations.write(tmp_path / "import", configurations.COUNTED)
    system.workspace("first", path)
    system.apply("first")
    (path / "terraform.tfstate").write_bytes(system.client.pull_state("first"))
    system.workspace("second", path)
    with pytest.raises(InvalidInput) as refused:
        system.client.enqueue("second", "plan_and_apply")
    assert "--import-state" in refused.value.hint
    assert system.plan("second", import_state=True).status is Status.PLANNED_AND_FINISHED
    system.workspace("third", path)
    assert system.plan("third", ignore_state=True).changes.add == 1
