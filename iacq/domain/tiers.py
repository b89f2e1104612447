"""How an apply starts: in the directory that its plan left, or with init and the stored plan.

Says what was compared, line by line, for the run's log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iacq.domain import fingerprint
from iacq.domain.fingerprint import Check, Fingerprint, differs, passed
from iacq.domain.run import Run, StartTier


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the plan wrote down."""

    agent_id: str | None  # where the run is prepared now; None: lost
    pod_name: str | None
    slot_id: int | None
    plan_hash: str | None  # SHA-256 of plan.out, hex
    fingerprint: Fingerprint | None  # of `fingerprint.make`


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is here when the apply starts."""

    agent_id: str
    pod_name: str
    slot_id: int
    directory_exists: bool  # the kept one, of the claim that made the stored plan
    plan_hash: str | None  # of the plan.out in it; None: not there, or unreadable
    fingerprint: Fingerprint | None  # of now; None: there is no directory to take it of


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How to start, and why."""

    tier: StartTier
    lines: tuple[str, ...]  # for the run's log
    failed: str | None  # the check that ruled out a hot start: agent, pod, slot, directory, plan_hash, lock_file, …


def recorded_of(run: Run) -> Recorded:
    """Take from a run what its apply is compared with."""
    return Recorded(
        agent_id=run.prepared_agent_id,
        pod_name=run.prepared_pod_name,
        slot_id=run.prepared_slot_id,
        plan_hash=run.plan_hash,
        fingerprint=run.fingerprint,
    )


def decide_start_tier(recorded: Recorded, found: Found) -> Decision:
    """Decide between a hot and a cold start. The first check that fails ends the list."""
    lines = ["Checking if init can be skipped (same slot)..."]
    for check in _hot_checks(recorded, found):
        lines.append(check.line)
        if not check.passed:
            lines.append("Starting cold: init, then the stored plan")
            return Decision(tier=StartTier.COLD, lines=tuple(lines), failed=check.name)
    lines.append("✓ Skipping init AND plan restore (using preserved workspace)")
    return Decision(tier=StartTier.HOT, lines=tuple(lines), failed=None)


def compare_for_cold(recorded: Recorded, found: Found) -> tuple[tuple[str, ...], str | None]:
    """Compare what a cold start needs with what the plan recorded; returns log lines, and an error or None.

    The error is a sentence with both values: another terraform version, lock file, provider version,
    canonical path or managed state. The hash of the stored plan is checked where it is restored.
    """
    lines = []
    for check in fingerprint.cold_checks(recorded.fingerprint, found.fingerprint):
        lines.append(check.line)
        if not check.passed:
            return tuple(lines), f"{check.line.removeprefix('✗ ')}; plan again"
    return tuple(lines), None


def _hot_checks(recorded: Recorded, found: Found) -> Iterator[Check]:
    yield _place("agent", recorded.agent_id, found.agent_id)
    yield _place("pod", recorded.pod_name, found.pod_name)
    yield _place("slot", recorded.slot_id, found.slot_id)
    yield _directory(found)
    yield _plan_hash(recorded, found)
    yield from fingerprint.hot_checks(recorded.fingerprint, found.fingerprint)


def _place(name: str, planned: str | int | None, here: str | int) -> Check:
    if planned is not None and planned == here:
        return passed(name, f"Same {name} ({here})")
    return differs(name, f"{name.capitalize()} differs: planned in {fingerprint.shown(planned)}, this is {here}")


def _directory(found: Found) -> Check:
    if found.directory_exists:
        return passed("directory", "Preserved workspace is here")
    return differs("directory", "Preserved workspace is gone")


def _plan_hash(recorded: Recorded, found: Found) -> Check:
    planned, here = fingerprint.short(recorded.plan_hash), fingerprint.short(found.plan_hash)
    if fingerprint.is_sha256(recorded.plan_hash) and recorded.plan_hash == found.plan_hash:
        return passed("plan_hash", f"Plan hash verified ({here})")
    return differs("plan_hash", f"Plan hash differs: planned {planned}, found {here}")
