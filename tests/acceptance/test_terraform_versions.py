"""A workspace names its terraform; its runs keep it from their plan to their apply."""

import json
import shutil
from pathlib import Path

import pytest

from iacq.domain.run import StartTier, Status
from iacq.errors import InvalidInput
from tests import older_terraform as older
from tests.acceptance import configurations
from tests.acceptance.system import System

NULL = 'resource "null_resource" "it" {}\noutput "id" { value = null_resource.it.id }\n'
TOFU = "1.8.0"


def script(program: Path, text: str) -> None:
    draft = program.with_name("draft")
    draft.write_text(f"#!/bin/sh\n{text}\n")
    draft.chmod(0o755)
    draft.replace(program)


@pytest.fixture
def versions(terraform_versions, older_terraform):
    """The real older terraform; and the present one under the name and the version of an OpenTofu."""
    for name in (older.VERSION, TOFU):
        (terraform_versions / name).mkdir()
    script(terraform_versions / older.VERSION / "terraform", f'exec "{older_terraform}" "$@"')
    said = f"if [ \"$1\" = version ]; then printf 'OpenTofu v{TOFU}\\non linux_amd64\\n'; exit; fi"
    script(terraform_versions / TOFU / "tofu", f'{said}\nexec "{shutil.which("terraform")}" "$@"')
    yield terraform_versions
    for directory in terraform_versions.iterdir():
        shutil.rmtree(directory)


def test_two_versions_at_once(system: System, versions, tmp_path):
    """The oldest kind that is supported, and one whose program is not called terraform."""
    path = configurations.write(tmp_path / "it", NULL)
    names = {version: f"version-{version.replace('.', '-')}" for version in (older.VERSION, TOFU)}
    for version, name in names.items():
        system.workspace(name, path, terraform_version=version)
    queued = {version: system.client.enqueue(name, "plan_and_apply") for version, name in names.items()}
    for version, run in queued.items():
        planned = system.wait(run, Status.APPLY_PENDING)
        assert (planned.status, planned.terraform_version) == (Status.APPLY_PENDING, version), planned.error_text
        assert planned.fingerprint["terraform"]["path"].startswith(str(versions / version))
        system.confirm(planned)
    for version, run in queued.items():
        applied = system.wait(run)
        assert (applied.status, applied.start_tier) == (Status.APPLIED, StartTier.HOT), applied.error_text
        assert f"✓ Same terraform ({version}, " in system.log(run, "apply")
        assert system.client.outputs(run.workspace)["id"]["value"]
    assert json.loads(system.client.pull_state(names[older.VERSION]))["terraform_version"] == older.VERSION
    assert not any(system.spy.calls(run=run.id) for run in queued.values()), "the default was not asked"
    assert system.apply(names[older.VERSION], "destroy").status is Status.APPLIED


def test_a_run_keeps_the_version_that_it_was_enqueued_with(system: System, versions, tmp_path):
    system.workspace("it", configurations.write(tmp_path / "it", configurations.COUNTED), terraform_version=TOFU)
    run = system.plan("it")
    system.client.update_workspace("it", terraform_version=None)
    program = versions / TOFU / "tofu"
    script(program, program.read_text() + "# another build")
    system.confirm(run)
    run = system.wait(run)
    assert (run.status, run.start_tier) == (Status.APPLIED, StartTier.COLD), run.error_text
    assert "✗ terraform differs: " in system.log(run, "apply")
    assert f"✓ Same terraform version ({TOFU}), another build" in system.log(run, "apply")
    assert system.plan("it", variables={"size": 2}).terraform_version not in (None, TOFU)


def test_a_version_that_is_not_there(system: System, versions, tmp_path):
    path = configurations.write(tmp_path / "it", configurations.COUNTED)
    with pytest.raises(InvalidInput, match=r"there is no terraform 1\.5\.7 in .*: 1\.0\.3, 1\.8\.0$") as caught:
        system.workspace("it", path, terraform_version="1.5.7")
    assert caught.value.field == "--terraform-version"
    system.workspace("it", path, terraform_version=TOFU)
    planned = system.plan("it")
    shutil.rmtree(versions / TOFU)
    system.confirm(planned)
    failed = [system.wait(planned), system.plan("it", "plan")]
    for run in failed:
        assert (run.status, run.error_code) == (Status.FAILED, "terraform_version")
        assert f"there is no terraform {TOFU} in {versions}: {older.VERSION} (" in run.error_text
    with pytest.raises(InvalidInput, match="exact version"):
        system.client.update_workspace("it", terraform_version="~> 1.8")
