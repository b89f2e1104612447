"""What a run is made of: source, variables, options. All of it is frozen when it is enqueued."""

import json
import shutil
from pathlib import Path

import pytest

from iacq.domain.run import Status
from iacq.errors import InvalidInput
from tests.acceptance import configurations
from tests.acceptance.conftest import on_both
from tests.acceptance.stored import everything_stored
from tests.acceptance.system import System

TYPED = """
variable "text" { type = string }
variable "number" { type = number }
variable "flag" { type = bool }
variable "list" { type = list(string) }
variable "object" { type = object({ a = number, b = map(list(bool)) }) }
variable "file" { type = string }
variable "json" { type = list(number) }
variable "secret" {
  type      = string
  sensitive = true
}
resource "terraform_data" "it" {
  input = sha256(jsonencode([var.text, var.number, var.flag, var.list, var.object, var.file, var.json, var.secret]))
}
output "all" { value = [var.text, var.number, var.flag, var.list, var.object, var.file, var.json] }
output "secret" {
  value     = var.secret
  sensitive = true
}
"""
SECRET = "correct-horse-battery-staple"


@on_both
def test_variables_of_every_type_reach_terraform_and_secrets_stay_secret(system: System, tmp_path):
    """docs/failures.md 5."""
    path = configurations.write(tmp_path / "typed", TYPED)
    ours = configurations.write(tmp_path, 'file = "of the workspace"\ntext = "overridden"\n', "ours.tfvars")
    theirs = configurations.write(tmp_path, '{"json": [1, 2, 3]}', "theirs.tfvars.json") / "theirs.tfvars.json"
    system.workspace(
        "typed",
        path,
        variables={"number": "42", "list": ["ä", "quote \" and ' and $HOME and ${path.cwd}"]},
        var_files=(str(ours / "ours.tfvars"),),
        secret_variables={"secret": SECRET},
    )
    values = {"text": "line\nbreak", "flag": True, "object": {"a": 1.5, "b": {"x": [True, False]}}}
    applied = system.apply("typed", variables=values, var_files=[theirs])
    assert (applied.status, applied.error_text) == (Status.APPLIED, None)
    outputs = system.client.outputs("typed")
    assert outputs["all"]["value"] == [
        *("line\nbreak", 42, True, ["ä", "quote \" and ' and $HOME and ${path.cwd}"]),
        *({"a": 1.5, "b": {"x": [True, False]}}, "of the workspace", [1, 2, 3]),
    ]
    assert outputs["secret"] == {"value": SECRET, "type": "string", "sensitive": True}
    assert SECRET not in system.log(applied)
    assert SECRET not in json.dumps(system.client.to_json(applied))
    assert SECRET.encode() not in everything_stored(system)


def test_a_queued_run_is_not_changed_by_later_edits(system: System, tmp_path):
    """docs/failures.md 5."""
    path = configurations.write(tmp_path / "edited", 'variable "v" {}\noutput "it" { value = "first ${var.v}" }')
    system.workspace("edited", path, variables={"v": "old"})
    system.client.lock_workspace("edited", reason="edit first")
    run = system.client.enqueue("edited", "plan_and_apply", auto_apply=True)
    configurations.write(path, "this is no configuration")
    system.client.update_workspace("edited", variables={"v": "new"})
    system.client.unlock_workspace("edited")
    assert system.wait(run).status is Status.APPLIED
    assert system.client.outputs("edited")["it"]["value"] == "first old"


def test_a_queued_run_of_an_archive_keeps_what_was_read(system: System, tmp_path):
    """docs/failures.md 5."""
    inside = configurations.write(tmp_path / "in" / "envs" / "prod", 'module "x" { source = "../../modules/x" }')
    configurations.write(inside, 'output "it" { value = module.x.it }', "outputs.tf")
    configurations.write(tmp_path / "in" / "modules" / "x", 'output "it" { value = "as it was" }')
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path / "in")
    system.workspace("archived", archive=archive, subdir="envs/prod")
    system.client.lock_workspace("archived", reason="remove it first")
    run = system.client.enqueue("archived", "plan_and_apply", auto_apply=True)
    Path(archive).write_bytes(b"PK\3\4 something else")
    system.client.unlock_workspace("archived")
    run = system.wait(run)
    assert (run.status, run.error_text) == (Status.APPLIED, None)
    assert system.client.outputs("archived")["it"]["value"] == "as it was"
    with pytest.raises(InvalidInput, match="not a whole zip"):
        system.client.enqueue("archived", "plan")
    assert len(system.client.list(workspace="archived")) == 1


@pytest.mark.parametrize(
    ("text", "variables", "said"),
    [
        (configurations.COUNTED, {"sice": "3"}, 'variable named "sice"'),
        (configurations.COUNTED, {"sice": 3}, 'variable "sice"'),
        (configurations.COUNTED, {"size": ["no", "number"]}, "number required"),
        ('resource "terraform_data" "it" { input = nothing.here }', {}, "Reference to undeclared resource"),
        ("resource terraform_data {", {}, "main.tf line 1"),
    ],
)
def test_what_terraform_refuses_is_said_once(system: System, tmp_path, text, variables, said):
    system.workspace("broken", configurations.write(tmp_path / "broken", text))
    run = system.plan("broken", variables=variables)
    assert run.status is Status.FAILED
    assert run.error_text.count(said) == 1, run.error_text
    assert "\x1b" not in run.error_text
    assert run.tries == 1
    assert not run.plan_hash


def test_options_reach_terraform(system: System, tmp_path):
    text = 'resource "terraform_data" "a" { input = 1 }\nresource "terraform_data" "b" { input = 1 }'
    system.workspace("options", configurations.write(tmp_path / "options", text))
    run = system.plan("options", targets=["terraform_data.a"], parallelism=3)
    assert run.changes.add == 1
    system.confirm(run)
    assert system.wait(run).status is Status.APPLIED
    assert "-parallelism=3" in system.spy.calls("apply", run=run.id)[0].arguments
    run = system.plan("options", replacements=["terraform_data.a"], refresh=False)
    assert (run.changes.add, run.changes.destroy) == (2, 1)


def test_a_file_of_variables_that_cannot_be_read_is_refused_at_once(system: System, tmp_path):
    system.workspace("files", configurations.write(tmp_path / "files", configurations.COUNTED))
    with pytest.raises(InvalidInput, match="cannot be read"):
        system.client.enqueue("files", "plan", var_files=[tmp_path / "absent.tfvars"])
    assert not system.client.list(workspace="files")
