"""docs/failures.md names tests that exist, and tests cite numbers that it explains."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "failures.md").read_text()


def test_every_named_test_exists():
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", TEXT)
    assert len(named) > 30
    for file, function in named:
        if not file.startswith(("tests/", "test_")):
            continue  # a module of iacq
        path = ROOT / file if file.startswith("tests/") else ROOT / "tests" / "acceptance" / file
        assert path.exists(), file
        assert not function or f"def {function}(" in path.read_text(), f"{file}::{function}"


def test_every_cited_number_is_explained():
    explained = set(re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE))
    for file in (ROOT / "tests").rglob("*.py"):
        for cited in re.findall(r"docs/failures\.md ([\d, ]+)", file.read_text()):
            assert set(re.findall(r"\d+", cited)) <= explained, f"{file.name}: {cited}"
