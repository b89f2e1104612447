"""scripts/modelcheck: what it prints, and when it fails."""

import json
from pathlib import Path

import pytest

from tests.walk import __main__ as modelcheck
from tests.walk import searching
from tests.walk.mutants import MUTANTS
from tests.walk.walk import Arena


def test_the_last_line_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert modelcheck.main(["--database", "sqlite", "--steps", "60", "--seed", "5"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found.pop("steps") >= 60
    assert found == {"violations": 0, "mutants": 0, "mutants_found": 0}


def test_bad_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        modelcheck.main(["--steps", "0"])
    assert "at least 1" in capsys.readouterr().err


def test_what_was_found_is_shortened_and_still_wrong(sqlite_url: str, tmp_path: Path) -> None:
    mutant = MUTANTS["a lease is judged at one look"]
    with Arena(sqlite_url, tmp_path / "walk") as arena:
        found = searching.search(arena, seed=0, steps=5_000, mutant=mutant).found
        assert found is not None
        shorter = searching.shorten(arena, found, seconds=2, product=mutant.product)
    assert len(shorter.decisions) <= len(found.broken.decisions)
    assert "after its lease ended" in shorter.wrong[0]
