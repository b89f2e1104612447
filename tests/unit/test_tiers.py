from __future__ import annotations

import dataclasses

import pytest

from iacq.domain import fingerprint, tiers
from iacq.domain.run import StartTier
from iacq.domain.tiers import Decision, Found, Recorded, Way

HASH = "0123456789abcdef" * 4
FINGERPRINT = fingerprint.make(
    lock_sha256="a" * 64,
    terraform={"path": "/bin/terraform", "version": "1.11.4", "sha256": "b" * 64, "stat": [1, 2, 3, 4, 5]},
    providers=[{"address": "hashicorp/null", "version": "2.1.2", "h1": "h1:x", "stat": [1, 2, 3, 4, 5]}],
    path="/work/42",
    options="c" * 64,
    state={"serial": 3, "lineage": "l"},
)
RECORDED = Recorded(agent_id="agent-1", pod_name="pod-a", slot_id=2, plan_hash=HASH, fingerprint=FINGERPRINT)
FOUND = Found(
    agent_id="agent-1",
    pod_name="pod-a",
    slot_id=2,
    directory_exists=True,
    plan_hash=HASH,
    fingerprint=FINGERPRINT,
)


def decide(recorded: Recorded, found: Found, way: Way = Way.KEPT) -> Decision:
    return tiers.decide(way, recorded, found)


def test_a_hot_start_names_each_check() -> None:
    decision = decide(RECORDED, FOUND)
    assert (decision.tier, decision.failed) == (StartTier.HOT, None)
    assert decision.lines == (
        "Checking if init can be skipped (same slot)...",
        "✓ Same agent (agent-1)",
        "✓ Same pod (pod-a)",
        "✓ Same slot (2)",
        "✓ Preserved workspace is here",
        "✓ Plan hash verified (0123456789ab)",
        "✓ Fingerprint recorded",
        "✓ Same lock file (aaaaaaaaaaaa)",
        "✓ Same terraform (1.11.4, /bin/terraform)",
        "✓ Same providers (1)",
        "✓ Same path (/work/42)",
        "✓ Same options",
        "✓ Same state (serial 3, lineage l)",
        "✓ Skipping init AND plan restore (using preserved workspace)",
    )


@pytest.mark.parametrize(
    ("found", "failed", "line"),
    [
        ({"agent_id": "agent-2"}, "agent", "✗ Agent differs: planned in agent-1, this is agent-2"),
        ({"pod_name": "pod-b"}, "pod", "✗ Pod differs: planned in pod-a, this is pod-b"),
        ({"slot_id": 3}, "slot", "✗ Slot differs: planned in 2, this is 3"),
        ({"directory_exists": False}, "directory", "✗ Preserved workspace is gone"),
        (
            {"plan_hash": "f" * 64},
            "plan_hash",
            "✗ Plan hash differs: planned 0123456789ab, found ffffffffffff",
        ),
        ({"plan_hash": None}, "plan_hash", "✗ Plan hash differs: planned 0123456789ab, found none"),
        ({"fingerprint": None}, "fingerprint", None),
        (
            {"fingerprint": {**FINGERPRINT, "path": "/x"}},
            "path",
            "✗ Path differs: planned in /work/42, this is /x",
        ),
    ],
)
def test_the_first_check_that_fails_rules_out_a_hot_start_and_says_both_values(
    found: dict[str, object], failed: str, line: str | None
) -> None:
    decision = decide(RECORDED, dataclasses.replace(FOUND, **found))  # type: ignore[arg-type]
    assert (decision.tier, decision.failed) == (None, failed)
    assert decision.lines[-1] == "Restoring what the plan left"
    assert line in (None, decision.lines[-2])
    assert not any(text.startswith("✗") for text in decision.lines[:-2])


@pytest.mark.parametrize("hash_", [None, "", "abc", "ABCDEF" * 11, "x" * 64])
def test_a_hash_that_is_none_never_verifies_and_never_crashes(hash_: str | None) -> None:
    """docs/failures.md 13."""
    recorded = dataclasses.replace(RECORDED, plan_hash=hash_)
    decision = decide(recorded, dataclasses.replace(FOUND, plan_hash=hash_))
    assert (decision.tier, decision.failed) == (None, "plan_hash")


def test_nothing_recorded_is_cold() -> None:
    """docs/failures.md 12 and 14."""
    lost = Recorded(agent_id=None, pod_name=None, slot_id=None, plan_hash=None, fingerprint=None)
    decision = decide(lost, FOUND)
    assert (decision.tier, decision.failed) == (None, "agent")
    assert "✗ Agent that planned it does not keep it any more" in decision.lines


def test_the_same_hash_in_another_slot_is_not_hot() -> None:
    """docs/failures.md 11."""
    assert decide(RECORDED, dataclasses.replace(FOUND, slot_id=1)).tier is None


ELSEWHERE = dataclasses.replace(FOUND, agent_id="agent-9", pod_name="pod-z", slot_id=1)
"""Another pod has the same programs at other places."""
MOVED = {
    **FINGERPRINT,
    "terraform": {**FINGERPRINT["terraform"], "path": "/opt/terraform", "stat": [9, 9, 9, 9, 9]},
    "providers": [{**FINGERPRINT["providers"][0], "stat": [9, 9, 9, 9, 9]}],
}


@pytest.mark.parametrize(
    ("way", "begins", "ends"),
    [
        (
            Way.WARMED_UP,
            (
                "Checking if init can be skipped (warmed up in this slot)...",
                "✓ Same agent (agent-1)",
                "✓ Same pod (pod-a)",
                "✓ Same slot (2)",
                "✓ Preserved workspace is here",
            ),
            "✓ Skipping init AND plan restore (using the workspace that was warmed up)",
        ),
        (
            Way.RESTORED,
            ("Checking if init can be skipped (restored snapshot)...", "✓ Providers are on this machine"),
            "✓ Skipping init (using the restored workspace)",
        ),
    ],
)
def test_a_warm_start_names_each_check_and_compares_contents(way: Way, begins: tuple[str, ...], ends: str) -> None:
    """docs/failures.md 14, 16."""
    here = FOUND if way is Way.WARMED_UP else dataclasses.replace(ELSEWHERE, directory_exists=True)
    decision = decide(RECORDED, dataclasses.replace(here, fingerprint=MOVED), way)
    assert (decision.tier, decision.failed) == (StartTier.WARM, None)
    assert decision.lines == (
        *begins,
        "✓ Plan hash verified (0123456789ab)",
        "✓ Fingerprint recorded",
        "✓ Same lock file (aaaaaaaaaaaa)",
        "✓ Same terraform (1.11.4, sha256 bbbbbbbbbbbb)",
        "✓ Same providers, by their content (1)",
        "✓ Same path (/work/42)",
        "✓ Same options",
        "✓ Same state (serial 3, lineage l)",
        ends,
    )


NULL = FINGERPRINT["providers"][0]


@pytest.mark.parametrize(
    ("found", "failed", "line"),
    [
        (
            {"missing": ("hashicorp/null 2.1.2",)},
            "mirror",
            "✗ Providers are not on this machine: hashicorp/null 2.1.2",
        ),
        ({"plan_hash": "f" * 64}, "plan_hash", "✗ Plan hash differs: planned 0123456789ab, found ffffffffffff"),
        ({"fingerprint": None}, "fingerprint", None),
        (
            {"fingerprint": {**FINGERPRINT, "lock_sha256": "d" * 64}},
            "lock_file",
            "✗ Lock file differs: planned aaaaaaaaaaaa, found dddddddddddd",
        ),
        (
            {"fingerprint": {**FINGERPRINT, "terraform": {**FINGERPRINT["terraform"], "sha256": "d" * 64}}},
            "terraform",
            "✗ terraform differs: another build: planned sha256 bbbbbbbbbbbb, found dddddddddddd",
        ),
        (
            {"fingerprint": {**FINGERPRINT, "terraform": {**FINGERPRINT["terraform"], "version": "1.12.0"}}},
            "terraform",
            "✗ terraform version differs: planned 1.11.4, found 1.12.0",
        ),
        (
            {"fingerprint": {**FINGERPRINT, "providers": [{**NULL, "h1": "h1:y"}]}},
            "providers",
            "✗ Provider hashicorp/null differs: planned h1 x, found y",
        ),
        (
            {"fingerprint": {**FINGERPRINT, "providers": []}},
            "providers",
            "✗ Provider hashicorp/null differs: planned 2.1.2, found unknown",
        ),
        ({"fingerprint": {**FINGERPRINT, "path": "/x"}}, "path", "✗ Path differs: planned in /work/42, this is /x"),
        ({"fingerprint": {**FINGERPRINT, "options": "e" * 64}}, "options", None),
        (
            {"fingerprint": {**FINGERPRINT, "state": {"serial": 4, "lineage": "l"}}},
            "state",
            "✗ State differs: planned from serial 3, lineage l, found serial 4, lineage l",
        ),
    ],
)
def test_the_first_check_that_fails_rules_out_a_warm_start(
    found: dict[str, object], failed: str, line: str | None
) -> None:
    decision = decide(RECORDED, dataclasses.replace(ELSEWHERE, **found), Way.RESTORED)  # type: ignore[arg-type]
    assert (decision.tier, decision.failed) == (None, failed)
    assert decision.lines[-1] == "Starting cold: init, then the stored plan"
    assert line in (None, decision.lines[-2])


def test_the_same_inode_is_not_enough_for_a_warm_start() -> None:
    """Numbers of files say nothing on another machine: only contents do."""
    unread = {**FINGERPRINT, "terraform": {**FINGERPRINT["terraform"], "sha256": None}}
    assert decide(RECORDED, dataclasses.replace(FOUND, fingerprint=unread)).tier is StartTier.HOT
    for way in (Way.WARMED_UP, Way.RESTORED):
        assert decide(RECORDED, dataclasses.replace(FOUND, fingerprint=unread), way).failed == "terraform"


@pytest.mark.parametrize("wrong", [{"slot_id": 3}, {"agent_id": "agent-2"}, {"directory_exists": False}])
def test_what_was_warmed_up_elsewhere_or_is_gone_is_not_used(wrong: dict[str, object]) -> None:
    """docs/failures.md 11."""
    decision = decide(RECORDED, dataclasses.replace(FOUND, **wrong), Way.WARMED_UP)  # type: ignore[arg-type]
    assert decision.tier is None
    assert decision.lines[-1] == "Restoring what the plan left"


def test_a_cold_start_goes_on_elsewhere() -> None:
    found = dataclasses.replace(FOUND, slot_id=3, pod_name="pod-b", directory_exists=False, plan_hash=None)
    lines, error = tiers.compare_for_cold(RECORDED, found)
    assert error is None
    assert lines[0] == "✓ Same terraform (1.11.4)"
    assert all(line.startswith("✓ ") for line in lines)


def test_a_cold_start_with_another_terraform_is_an_error_with_both_versions() -> None:
    other = {**FINGERPRINT, "terraform": {**FINGERPRINT["terraform"], "version": "1.12.0"}}
    lines, error = tiers.compare_for_cold(RECORDED, dataclasses.replace(FOUND, fingerprint=other))
    assert error == "terraform version differs: planned 1.11.4, found 1.12.0; plan again"
    assert lines[-1] == "✗ terraform version differs: planned 1.11.4, found 1.12.0"
