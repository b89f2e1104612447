from __future__ import annotations

import dataclasses

import pytest

from iacq.domain import fingerprint, tiers
from iacq.domain.run import StartTier
from iacq.domain.tiers import Found, Recorded

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


def test_a_hot_start_names_each_check() -> None:
    decision = tiers.decide_start_tier(RECORDED, FOUND)
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
def test_the_first_check_that_fails_goes_cold_and_says_both_values(
    found: dict[str, object], failed: str, line: str | None
) -> None:
    decision = tiers.decide_start_tier(RECORDED, dataclasses.replace(FOUND, **found))  # type: ignore[arg-type]
    assert (decision.tier, decision.failed) == (StartTier.COLD, failed)
    assert decision.lines[-1] == "Starting cold: init, then the stored plan"
    assert line in (None, decision.lines[-2])
    assert not any(text.startswith("✗") for text in decision.lines[:-2])


@pytest.mark.parametrize("hash_", [None, "", "abc", "ABCDEF" * 11, "x" * 64])
def test_a_hash_that_is_none_never_verifies_and_never_crashes(hash_: str | None) -> None:
    """docs/failures.md 13."""
    recorded = dataclasses.replace(RECORDED, plan_hash=hash_)
    decision = tiers.decide_start_tier(recorded, dataclasses.replace(FOUND, plan_hash=hash_))
    assert (decision.tier, decision.failed) == (StartTier.COLD, "plan_hash")


def test_nothing_recorded_is_cold() -> None:
    """docs/failures.md 12 and 14."""
    lost = Recorded(agent_id=None, pod_name=None, slot_id=None, plan_hash=None, fingerprint=None)
    decision = tiers.decide_start_tier(lost, FOUND)
    assert (decision.tier, decision.failed) == (StartTier.COLD, "agent")
    assert "✗ Agent differs: planned in unknown, this is agent-1" in decision.lines


def test_the_same_hash_in_another_slot_is_not_hot() -> None:
    """docs/failures.md 11."""
    assert tiers.decide_start_tier(RECORDED, dataclasses.replace(FOUND, slot_id=1)).tier is StartTier.COLD


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
