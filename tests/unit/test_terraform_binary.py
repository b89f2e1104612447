import hashlib
import os
import sys
from pathlib import Path

import pytest

from iacq.adapters.terraform import binary
from iacq.errors import Unavailable
from iacq.settings import Settings


def program(path: Path, script: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_setting_comes_first(tmp_path):
    own = program(tmp_path / "own" / "my-terraform")
    program(tmp_path / "bin" / "terraform")
    path = str(tmp_path / "bin")
    assert binary.find(Settings(terraform=str(own)), search_path=path) == own
    tofu = program(tmp_path / "bin" / "tofu")
    assert binary.find(Settings(terraform="tofu"), search_path=path) == tofu


def test_terraform_before_tofu_on_the_path(tmp_path):
    tofu = program(tmp_path / "tofu")
    assert binary.find(Settings(), search_path=str(tmp_path)) == tofu
    terraform = program(tmp_path / "terraform")
    assert binary.find(Settings(), search_path=str(tmp_path)) == terraform


def test_beside_python_at_last(tmp_path, monkeypatch):
    beside = program(tmp_path / "venv" / "bin" / "tofu")
    monkeypatch.setattr(sys, "executable", str(beside.parent / "python"))
    assert binary.find(Settings(), search_path=str(tmp_path)) == beside


def test_none_at_all_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(Unavailable, match="neither terraform nor tofu") as caught:
        binary.find(Settings(), search_path=str(tmp_path))
    assert "IACQ_TERRAFORM" in caught.value.hint
    with pytest.raises(Unavailable, match="IACQ_TERRAFORM: there is no program /nowhere/tf"):
        binary.find(Settings(terraform="/nowhere/tf"))
    not_executable = tmp_path / "terraform"
    not_executable.write_text("")
    with pytest.raises(Unavailable):
        binary.find(Settings(terraform=str(not_executable)))


def test_version_is_asked_once_per_file(tmp_path):
    asked = tmp_path / "asked"
    script = f'echo x >> {asked}; echo \'{{"terraform_version": "1.11.4"}}\''
    path = program(tmp_path / "terraform", script)
    assert binary.version(path) == "1.11.4"
    assert binary.version(path) == "1.11.4"
    assert asked.read_text() == "x\n"
    program(path, f"echo x >> {asked}; echo 'OpenTofu v1.9.0'; echo on linux_amd64")
    assert binary.version(path) == "1.9.0"
    assert asked.read_text() == "x\nx\n"


def test_tofu_says_its_version_as_json_too(tmp_path):
    path = program(tmp_path / "tofu", """echo '{"terraform_version": "1.8.0", "platform": "linux_amd64"}'""")
    assert binary.version(path) == "1.8.0"


@pytest.mark.parametrize(("said", "works"), [("0.15.5", False), ("1.0.0", True), ("1.0.0-rc1", True)])
def test_one_that_is_too_old_is_refused(tmp_path, said, works):
    path = program(tmp_path / "terraform", f"echo Terraform v{said}")
    if works:
        assert binary.fingerprint(path)["version"] == said
        return
    with pytest.raises(Unavailable, match=rf"too old: it says that it is {said}") as caught:
        binary.fingerprint(path)
    assert (caught.value.code, caught.value.hint) == ("terraform_too_old", "iacq needs 1.0.0 or newer")


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "echo '{}'", "echo '[1]'"])
def test_a_program_without_a_version_is_unavailable(tmp_path, script):
    path = program(tmp_path / "terraform", script)
    with pytest.raises(Unavailable, match="does not say its version"):
        binary.version(path)


def test_a_program_that_does_not_run_is_unavailable(tmp_path):
    path = tmp_path / "terraform"
    path.write_bytes(b"\x7fELF broken")
    path.chmod(0o755)
    with pytest.raises(Unavailable, match="does not run"):
        binary.version(path)
    with pytest.raises(Unavailable, match="No such file"):
        binary.version(tmp_path / "gone")


def test_fingerprint_notices_every_change(tmp_path):
    script = "echo Terraform v1.0.0"
    path = program(tmp_path / "terraform", script)
    first = binary.fingerprint(path)
    content = path.read_bytes()
    found = path.stat()
    assert first == {
        "path": str(path),
        "version": "1.0.0",
        "sha256": hashlib.sha256(content).hexdigest(),
        "stat": [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns],
    }
    assert binary.fingerprint(path) == first
    path.write_bytes(content.replace(b"1.0.0", b"1.0.1"))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    changed = binary.fingerprint(path)
    assert changed["stat"][2:4] == first["stat"][2:4]
    assert (changed["version"], changed["sha256"] != first["sha256"]) == ("1.0.1", True)
