"""What tests with a real terraform share."""

import os
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from iacq.adapters.providers import packages

NULL = "registry.terraform.io/hashicorp/null"
NULL_VERSION = "2.1.2"


@dataclass(frozen=True, kw_only=True)
class NullProvider:
    """The same provider package as two kinds of mirror."""

    packed: Path
    unpacked: Path


@pytest.fixture(scope="session")
def terraform() -> Path:
    found = shutil.which("terraform")
    if found is None:
        pytest.fail("these tests need terraform on PATH: install it (1.11 or newer)")
    return Path(found)


@pytest.fixture(scope="session")
def null_provider_source(null_program, tmp_path_factory) -> NullProvider:
    """A packed and an unpacked provider mirror, each with hashicorp/null."""
    root = tmp_path_factory.mktemp("null-provider")
    unpacked = root / "unpacked" / NULL / NULL_VERSION / packages.PLATFORM
    unpacked.mkdir(parents=True)
    shutil.copy2(null_program, unpacked)
    packed = root / "packed" / NULL
    packed.mkdir(parents=True)
    archive = packed / f"terraform-provider-null_{NULL_VERSION}_{packages.PLATFORM}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.write(null_program, null_program.name)
    return NullProvider(packed=root / "packed", unpacked=root / "unpacked")


@pytest.fixture
def run_terraform(terraform, tmp_path):
    """Run terraform with an environment of its own; returns the ended process, output as text."""

    def run(*arguments: str, cwd: Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
        ended = subprocess.run(
            [terraform, *arguments],
            cwd=cwd,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "CHECKPOINT_DISABLE": "1",
                "TF_CLI_CONFIG_FILE": os.devnull,
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or ended.returncode == 0, ended.stdout
        return ended

    return run
