from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from iacq.adapters.sources.local_source import LocalSource
from iacq.adapters.sources.source_tree import foreign_state
from iacq.domain.source import SourceKind, SourceLocation
from iacq.errors import InvalidInput
from iacq.ports import PackedSource, SourceFacts
from iacq.settings import Settings

LIMIT = 2**20


def at(root: Path, subdir: str | None = None) -> SourceLocation:
    return SourceLocation(kind=SourceKind.PATH, at=str(root), subdir=subdir)


def pack(root: Path, subdir: str | None = None, *, limit: int = LIMIT) -> PackedSource:
    return LocalSource(Settings()).pack(at(root, subdir), limit=limit)


def look(root: Path, subdir: str | None = None) -> SourceFacts:
    return LocalSource(Settings()).look(at(root, subdir))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "network"
    path.mkdir()
    (path / "main.tf").write_text('resource "terraform_data" "x" {}\n')
    return path


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def names(root: Path) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(pack(root).data)) as tar:
        return {member.name for member in tar if not member.isdir()}


def refused(root: Path, *, limit: int = LIMIT) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        pack(root, limit=limit)
    assert caught.value.field == "--path"
    assert caught.value.hint
    return caught.value


def test_what_belongs_to_this_machine_is_never_packed(root: Path) -> None:
    write(root, ".terraform.lock.hcl", "modules/a/main.tf", "terraform.tfvars", ".terraformignore")
    write(root, ".git/config", "modules/a/.git", ".terraform/x", "modules/a/.terraform/x")
    write(root, "terraform.tfstate", "terraform.tfstate.backup", "terraform.tfstate.d/dev/terraform.tfstate")
    write(root, "modules/a/terraform.tfstate", "errored.tfstate", ".terraform.tfstate.lock.info")
    (root / "terraform.tfstate").write_text(state())
    (root / ".terraformignore").write_text("!.git\n!.terraform\n!terraform.tfstate\n")
    assert names(root) == {
        ".terraform.lock.hcl",
        ".terraformignore",
        "main.tf",
        "modules/a/main.tf",
        "terraform.tfvars",
    }


def test_the_ignore_file_is_obeyed(root: Path) -> None:
    write(root, "a.zip", "keep.zip", "build/x", "sub/build/x", "docs/x", "docs/need/x", "# odd")
    (root / ".terraformignore").write_text("# comment\r\n*.zip\r\n!keep.zip\n/build\ndocs/\n!docs/need/x\n\\# odd\n")
    assert names(root) == {".terraformignore", "main.tf", "keep.zip", "sub/build/x", "docs/need/x"}


@pytest.mark.parametrize("pattern", ["!", "x/[z-a]"])
def test_a_broken_pattern_is_named_with_its_line(root: Path, pattern: str) -> None:
    (root / ".terraformignore").write_text(f"*.zip\n{pattern}\n")
    assert f".terraformignore, line 2: {pattern!r} is not a pattern" in refused(root).message


def test_an_ignore_file_that_is_no_file(root: Path) -> None:
    (root / ".terraformignore").mkdir()
    assert "cannot be read: Is a directory" in refused(root).message


def test_a_directory_is_needed(root: Path) -> None:
    assert "does not exist" in refused(root / "missing").message
    assert "is not a directory" in refused(root / "main.tf").message


def test_a_configuration_is_needed_at_the_root(root: Path) -> None:
    (root / "main.tf").rename(root / ".hidden.tf")
    write(root, "modules/a/main.tf", "x.tf.txt")
    (root / "directory.tf").mkdir()
    assert "holds no terraform configuration (no .tf" in refused(root).message
    with pytest.raises(InvalidInput, match="holds no terraform configuration"):
        look(root)


@pytest.mark.parametrize("name", ["a.tf", "a.tf.json", "a.tofu", "a.tofu.json"])
def test_each_kind_of_configuration_counts(root: Path, name: str) -> None:
    (root / "main.tf").rename(root / name)
    assert names(root) == {name}


def test_a_configuration_that_is_ignored_is_none(root: Path) -> None:
    (root / ".terraformignore").write_text("*.tf\n")
    assert ".terraformignore leaves out main.tf" in refused(root).message


def test_over_the_limit(root: Path) -> None:
    (root / "image.iso").write_bytes(os.urandom(2 * LIMIT))
    error = refused(root)
    assert "more than 1 MiB" in error.message
    assert "'image.iso' (2 MiB)" in error.message
    assert ".terraformignore" in str(error.hint)


def test_a_link_out_of_the_directory(root: Path) -> None:
    (root / "shared").symlink_to("../shared")
    assert "'shared'" in refused(root).message
    (root / ".terraformignore").write_text("shared\n")
    assert "shared" not in names(root)


def refused_to_nobody(root: Path) -> str:
    """Pack as a user to whom modes apply, in a child if we are root, and return the message."""
    received, sent = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir(root)  # nobody cannot come in from above
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            pack(Path())
        except InvalidInput as error:
            os.write(sent, f"{error.field}: {error.message}".encode())
        finally:
            os._exit(0)
    os.close(sent)
    os.waitpid(child, 0)
    with open(received) as file:
        return file.read()


@pytest.mark.parametrize("name", ["secret.auto.tfvars", "private"])
def test_what_cannot_be_read_is_named(root: Path, name: str) -> None:
    write(root, "secret.auto.tfvars", "private/x")
    (root / name).chmod(0)
    assert refused_to_nobody(root) == f"--path: '{name}' in . cannot be read: Permission denied"
    (root / name).chmod(0o700)


def state(**more: object) -> str:
    return json.dumps({"version": 4, "serial": 7, "lineage": "", "resources": [], **more})


RESOURCE = {"mode": "managed", "type": "terraform_data", "name": "x", "instances": [{}]}


def test_a_state_beside_the_configuration_is_found(root: Path) -> None:
    text = state(lineage="abc", resources=[RESOURCE])
    (root / "terraform.tfstate").write_text(text)
    found = foreign_state(root)
    assert found is not None
    assert (found.path, found.serial, found.lineage, found.resources) == (
        root / "terraform.tfstate",
        7,
        "abc",
        1,
    )
    assert found.data == text.encode()
    assert "terraform_data" not in repr(found)
    assert look(root).state == text.encode()


@pytest.mark.parametrize(
    ("text", "foreign"), [("", False), (" \n", False), (state(), False), (state(lineage="x"), True)]
)
def test_an_empty_state_is_none(root: Path, text: str, foreign: bool) -> None:
    assert foreign_state(root) is None
    (root / "terraform.tfstate").write_text(text)
    assert (foreign_state(root) is not None) is foreign


def test_a_broken_state_is_refused_by_name(root: Path) -> None:
    (root / "terraform.tfstate").write_text("{")
    with pytest.raises(InvalidInput, match=r"terraform\.tfstate cannot be read: .* not JSON") as caught:
        pack(root)
    assert caught.value.field == "--path"


def test_look_reads_the_root_module(root: Path) -> None:
    (root / "backend.tf").write_text('terraform {\n  backend "s3" {}\n}\n')
    facts = look(root)
    assert facts.configuration.backend == "s3"
    assert facts.state is None
