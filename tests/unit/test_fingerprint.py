from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iacq.domain import fingerprint

HASH = "a" * 64
MAKE: dict[str, Any] = {
    "lock_sha256": HASH,
    "terraform": {"path": "/bin/tf", "version": "1.11.4", "sha256": "b" * 64, "stat": (1, 2, 3, 4, 5)},
    "providers": [{"address": "hashicorp/null", "version": "2.1.2", "h1": "h1:abc=", "stat": (1, 2, 3, 4, 5)}],
    "path": "/work/42",
    "options": "c" * 64,
    "state": {"serial": 3, "lineage": "l"},
}


def made(**changes: object) -> dict[str, object]:
    return fingerprint.make(**{**MAKE, **changes})


def first_difference(before: object, now: object, *, hot: bool = True) -> str | None:
    checks = fingerprint.hot_checks if hot else fingerprint.cold_checks
    return next((check.line for check in checks(before, now) if not check.passed), None)  # type: ignore[arg-type]


def changed(part: str, **changes: object) -> dict[str, object]:
    if part == "providers":
        return made(providers=[{**MAKE["providers"][0], **changes}])
    return made(**{part: {**MAKE[part], **changes}})


def test_it_survives_json() -> None:
    assert first_difference(json.loads(json.dumps(made())), made()) is None


NEW_STAT = (1, 2, 3, 4, 6)


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (made(lock_sha256="d" * 64), "✗ Lock file differs: planned aaaaaaaaaaaa, found dddddddddddd"),
        (made(lock_sha256=None), "✗ Lock file differs: planned aaaaaaaaaaaa, found none"),
        (changed("terraform", version="1.11.5"), "✗ terraform version differs: planned 1.11.4, found 1.11.5"),
        (
            changed("terraform", path="/other"),
            "✗ terraform path differs: planned /bin/tf, found /other",
        ),
        (
            changed("terraform", stat=NEW_STAT, sha256="e" * 64),
            "✗ terraform differs: /bin/tf changed: planned sha256 bbbbbbbbbbbb, found eeeeeeeeeeee",
        ),
        (
            changed("terraform", stat=NEW_STAT, sha256=None),
            "✗ terraform differs: /bin/tf changed: planned stat (1, 2, 3, 4, 5), found (1, 2, 3, 4, 6)",
        ),
        (made(providers=[]), "✗ Provider hashicorp/null differs: planned 2.1.2, found unknown"),
        (
            changed("providers", version="3.0.0"),
            "✗ Provider hashicorp/null differs: planned 2.1.2, found 3.0.0",
        ),
        (
            changed("providers", stat=NEW_STAT, h1="h1:def="),
            "✗ Provider hashicorp/null differs: changed: planned h1 abc=, found def=",
        ),
        (made(path="/work/43"), "✗ Path differs: planned in /work/42, this is /work/43"),
        (made(options="d" * 64), "✗ Options differ: planned cccccccccccc, found dddddddddddd"),
        (
            made(state={"serial": 4, "lineage": "l"}),
            "✗ State differs: planned from serial 3, lineage l, found serial 4, lineage l",
        ),
        (made(state=None), "✗ State differs: planned from serial 3, lineage l, found none"),
    ],
)
def test_a_hot_start_finds_each_difference(now: dict[str, object], line: str) -> None:
    assert first_difference(made(), now) == line


@pytest.mark.parametrize("now", [changed("terraform", stat=NEW_STAT), changed("providers", stat=NEW_STAT)])
def test_a_touched_file_with_the_same_content_is_the_same(now: dict[str, object]) -> None:
    assert first_difference(made(), now) is None


def test_a_hot_start_needs_no_hash_of_unchanged_files() -> None:
    now = made(
        terraform={**MAKE["terraform"], "sha256": None},
        providers=[{**MAKE["providers"][0], "h1": None}],
    )
    assert first_difference(made(), now) is None


def test_no_lock_file_and_no_managed_state_are_fine_if_both_have_none() -> None:
    bare = made(lock_sha256=None, state=None, providers=[])
    assert first_difference(bare, bare) is None
    first = made(state={"serial": None, "lineage": None})
    assert first_difference(first, first) is None


@pytest.mark.parametrize("broken", [None, {}, {"terraform": 3}, "text", []])
def test_a_broken_record_never_matches_and_never_crashes(broken: object) -> None:
    assert str(first_difference(broken, broken)).startswith("✗ Fingerprint of the plan lacks ")
    assert str(first_difference(made(), broken)).startswith("✗ Fingerprint of this place lacks ")
    assert first_difference(broken, made(), hot=False) == "✗ terraform version differs: planned unknown, found 1.11.4"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
ODD = st.fixed_dictionaries({}, optional=dict.fromkeys(MAKE, JSON))


@given(before=ODD, now=ODD)
def test_whatever_was_recorded_there_is_an_answer(before: dict[str, object], now: dict[str, object]) -> None:
    for hot in (True, False):
        first_difference(before, now, hot=hot)


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (made(), None),
        (changed("terraform", path="/other", stat=NEW_STAT), None),
        (changed("terraform", stat=NEW_STAT, sha256="e" * 64), None),
        (made(providers=[]), None),
        (changed("providers", h1="h1:def="), None),
        (made(options="d" * 64), None),
        (changed("terraform", version="1.12.0"), "✗ terraform version differs: planned 1.11.4, found 1.12.0"),
        (made(lock_sha256="d" * 64), "✗ Lock file differs: planned aaaaaaaaaaaa, found dddddddddddd"),
        (
            changed("providers", version="3.0.0"),
            "✗ Provider hashicorp/null differs: planned 2.1.2, found 3.0.0",
        ),
        (made(path="/work/43"), "✗ Path differs: planned in /work/42, this is /work/43"),
        (
            made(state={"serial": 3, "lineage": "m"}),
            "✗ State differs: planned from serial 3, lineage l, found serial 3, lineage m",
        ),
    ],
)
def test_a_cold_start_stops_for_what_terraform_would_refuse(now: dict[str, object], line: str | None) -> None:
    assert first_difference(made(), now, hot=False) == line


def test_another_build_of_the_same_version_is_said() -> None:
    now = changed("terraform", stat=NEW_STAT, sha256="e" * 64)
    assert next(fingerprint.cold_checks(made(), now)).line == (
        "✓ Same terraform version (1.11.4), another build: planned sha256 bbbbbbbbbbbb, found eeeeeeeeeeee"
    )
