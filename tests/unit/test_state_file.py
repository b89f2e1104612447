from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from iacq.domain import state_file
from iacq.domain.state_file import StateFile
from iacq.errors import InvalidInput


def state(**more: object) -> bytes:
    return json.dumps({"version": 4, "terraform_version": "1.11.4", "serial": 3, "lineage": "abc", **more}).encode()


def resource(**more: object) -> dict[str, object]:
    return {"mode": "managed", "type": "null_resource", "name": "x", "instances": [{}], **more}


def read(data: bytes) -> StateFile:
    found = state_file.read(data)
    assert found is not None
    return found


@pytest.mark.parametrize("data", [b"", b" \n\t"])
def test_nothing_is_no_state(data: bytes) -> None:
    assert state_file.read(data) is None


def test_the_head_is_read() -> None:
    found = read(state())
    assert (found.lineage, found.serial, found.terraform_version) == ("abc", 3, "1.11.4")
    assert (found.resources, found.outputs) == ((), {})
    assert len(found.sha256) == 64


def test_addresses_are_written_as_terraform_writes_them() -> None:
    found = read(
        state(
            resources=[
                resource(),
                resource(mode="data", type="http", name="y"),
                resource(name="many", instances=[{"index_key": 0}, {"index_key": 1}]),
                resource(name="each", instances=[{"index_key": 'a"b\\c\n${d}%{e}'}]),
                resource(module='module.m["a.data.b"].module.n', instances=[{"index_key": "data"}]),
                resource(mode="data", module='module.m["x\\"]."]', type="http", name="z"),
                resource(name="old", instances=[{}, {"deposed": "0123abcd"}]),
                resource(name="gone", instances=[]),
            ]
        )
    )
    assert found.resources == (
        "null_resource.x",
        "data.http.y",
        "null_resource.many[0]",
        "null_resource.many[1]",
        'null_resource.each["a\\"b\\\\c\\n$${d}%%{e}"]',
        'module.m["a.data.b"].module.n.null_resource.x["data"]',
        'module.m["x\\"]."].data.http.z',
        "null_resource.old",
        "null_resource.old (deposed 0123abcd)",
    )
    assert set(found.resources) - set(found.managed) == {"data.http.y", 'module.m["x\\"]."].data.http.z'}


def test_outputs_keep_type_and_sensitivity() -> None:
    found = read(
        state(
            outputs={
                "a": {"value": [1], "type": ["list", "number"]},
                "b": {"value": "s3cret", "sensitive": True},
            }
        )
    )
    assert (found.outputs["a"].value, found.outputs["a"].type, found.outputs["a"].sensitive) == (
        [1],
        ["list", "number"],
        False,
    )
    assert found.outputs["b"].sensitive
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no format version"),
        (b"{}", "no format version"),
        (b'{"version": 3}', "format is 3, not 4"),
        (b'{"version": 5}', "format is 5, not 4"),
        (b'{"version": "4"}', "format is '4', not 4"),
        (state(serial="3"), "not as terraform writes it"),
        (state(serial=True), "not as terraform writes it"),
        (state(resources=[1]), "not as terraform writes it"),
        (state(resources={"a": 1}), "not as terraform writes it"),
        (state(resources=[{"mode": "managed"}]), "not as terraform writes it"),
        (state(resources=[resource(instances=[1])]), "not as terraform writes it"),
        (state(outputs=[1]), "not as terraform writes it"),
        (state(outputs={"a": {}}), "not as terraform writes it"),
    ],
)
def test_what_is_no_state_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match="the state cannot be read: ") as caught:
        state_file.read(data)
    assert why in caught.value.message
    assert caught.value.code == "bad_state"


CONFIGURATION = """
resource "terraform_data" "each" {
  for_each = toset(["plain", "we\\"ird $${x} %%{y} \\\\ ."])
  input    = each.key
}
resource "terraform_data" "count" {
  count = 2
}
output "secret" {
  value     = "s"
  sensitive = true
}
"""


def test_addresses_agree_with_terraform(tmp_path: Path) -> None:
    terraform = shutil.which("terraform")
    assert terraform, "terraform is not on PATH"
    (tmp_path / "main.tf").write_text(CONFIGURATION)
    for arguments in (["init"], ["apply", "-auto-approve"]):
        subprocess.run(
            [terraform, *arguments, "-input=false"], cwd=tmp_path, check=True, capture_output=True, timeout=300
        )
    listed = subprocess.run(
        [terraform, "state", "list"], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=300
    ).stdout.splitlines()
    found = read((tmp_path / "terraform.tfstate").read_bytes())
    assert set(found.resources) == set(listed)
    assert len(listed) == 4
    assert found.outputs["secret"].sensitive
    assert found.lineage
