"""What the README says of the code is what the code says."""

import re
from pathlib import Path

from iacq.cli import cli
from tests import readme


def test_generated_parts_are_up_to_date() -> None:
    text = readme.README.read_text()
    assert readme.rendered(text) == text, "run `python -m tests.readme`"


def test_files_it_names_exist() -> None:
    root = readme.README.parent
    named = re.findall(r"`((?:iacq|workers|scripts|tests|docs)/[\w./-]*|beat_schedule\.py)`", readme.README.read_text())
    assert named
    missing = [name for name in named if not (root / name).exists()]
    assert not missing


def test_commands_it_names_exist() -> None:
    named = set(re.findall(r"(?:`|^\$ )iacq ([a-z]+)", readme.README.read_text(), re.MULTILINE))
    known = set(cli.list_commands(None))  # type: ignore[arg-type]  # the root needs no context to list
    assert named <= known, named - known


def test_license_is_there() -> None:
    assert "Apache License" in Path(readme.README.parent / "LICENSE").read_text()[:200]
