import sys

import pytest

from iacq.adapters.terraform import versions as terraform_versions
from iacq.adapters.terraform.versions import InstalledVersions
from iacq.errors import InvalidInput, Unavailable
from iacq.ports import TerraformVersions
from iacq.settings import Settings
from iacq.testing.terraform_versions import FakeTerraformVersions


@pytest.fixture
def install(tmp_path):
    """Put a program that says its version into the directory of a version."""

    def put(version: str, *, name: str = "terraform", said: str | None = None):
        program = tmp_path / "versions" / version / name
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho 'Terraform v{said or version}'\n")
        program.chmod(0o755)
        return program

    return put


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(terraform_versions=tmp_path / "versions", terraform=sys.executable)


@pytest.fixture(params=["real", "fake"])
def versions(request, install, settings) -> TerraformVersions:
    if request.param == "fake":
        return FakeTerraformVersions("1.5.7", "1.10.0")
    install("1.10.0")
    install("1.5.7")
    return InstalledVersions(settings)


def test_a_version_that_is_there_and_one_that_is_not(versions):
    versions.check("1.5.7")
    with pytest.raises(InvalidInput, match=r"there is no terraform 1\.5\.8.*: 1\.5\.7, 1\.10\.0") as caught:
        versions.check("1.5.8")
    assert caught.value.field == "--terraform-version"


def test_where_the_directory_is_not_visible_nothing_is_refused(tmp_path):
    InstalledVersions(Settings()).check("1.5.7")
    InstalledVersions(Settings(terraform_versions=tmp_path / "elsewhere")).check("1.5.7")


def test_find(install, settings):
    terraform, tofu = install("1.5.7"), install("1.8.0", name="tofu")
    (settings.terraform_versions / "notes").write_text("x")
    (settings.terraform_versions / "1.9.0").mkdir()
    assert terraform_versions.listed(settings) == {"1.5.7": terraform, "1.8.0": tofu}
    assert terraform_versions.find(settings, "1.5.7") == terraform
    assert str(terraform_versions.find(settings, None)) == sys.executable
    with pytest.raises(Unavailable, match=r"there is no terraform 1\.9\.0 in .*: 1\.5\.7, 1\.8\.0") as caught:
        terraform_versions.find(settings, "1.9.0")
    assert caught.value.code == "terraform_version"
    assert f"{settings.terraform_versions}/1.9.0/terraform" in caught.value.hint
    with pytest.raises(Unavailable, match="IACQ_TERRAFORM_VERSIONS is not set here"):
        terraform_versions.find(Settings(), "1.9.0")


def test_a_program_in_the_directory_of_another_version_is_refused(install, settings):
    install("1.5.7", said="1.5.8")
    with pytest.raises(Unavailable, match=r"says that it is 1\.5\.8, its directory says 1\.5\.7"):
        terraform_versions.find(settings, "1.5.7")
