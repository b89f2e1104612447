"""How an apply starts: in the directory that its plan left, in one made of the snapshot, or with init.

Hot: the directory of the plan. Warm: one that was warmed up in this slot, or that is made of the snapshot now; nothing
but providers of this machine is added to it, and all is compared by its content. Cold: init, then the stored plan.
Says what was compared, line by line, for the run's log.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from iacq.domain import fingerprint
from iacq.domain.fingerprint import Check, Fingerprint, differs, passed
from iacq.domain.run import Run, StartTier


class Way(enum.Enum):
    """Where a directory without a second init comes from."""

    KEPT = enum.auto()  # the plan's own
    WARMED_UP = enum.auto()  # made for this run in this slot, before its apply
    RESTORED = enum.auto()  # just made of the snapshot


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
    directory_exists: bool  # the one that this way starts in
    plan_hash: str | None  # of the plan.out in it; None: not there, or unreadable
    fingerprint: Fingerprint | None  # of now; None: there is no directory to take it of
    missing: tuple[str, ...] = ()  # providers of the plan that this machine lacks, for people


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether the apply can start this way, and why."""

    tier: StartTier | None  # None: not this way
    lines: tuple[str, ...]  # for the run's log
    failed: str | None  # the check that rules it out: agent, pod, slot, directory, mirror, plan_hash, lock_file, …


def recorded_of(run: Run) -> Recorded:
    """Take from a run what its apply is compared with."""
    return Recorded(
        agent_id=run.prepared_agent_id,
        pod_name=run.prepared_pod_name,
        slot_id=run.prepared_slot_id,
        plan_hash=run.plan_hash,
        fingerprint=run.fingerprint,
    )


def decide(way: Way, recorded: Recorded, found: Found) -> Decision:
    """Decide whether a directory may be applied as it is. The first check that fails ends the list."""
    words = _WORDS[way]
    lines = [f"Checking if init can be skipped ({words.what})..."]
    for check in _checks(way, recorded, found):
        lines.append(check.line)
        if not check.passed:
            return Decision(tier=None, lines=(*lines, words.otherwise), failed=check.name)
    return Decision(tier=words.tier, lines=(*lines, f"✓ {words.skipped}"), failed=None)


@dataclass(frozen=True, kw_only=True)
class _Words:
    what: str
    tier: StartTier
    skipped: str
    otherwise: str


_WORDS = {
    Way.KEPT: _Words(
        what="same slot",
        tier=StartTier.HOT,
        skipped="Skipping init AND plan restore (using preserved workspace)",
        otherwise="Restoring what the plan left",
    ),
    Way.WARMED_UP: _Words(
        what="warmed up in this slot",
        tier=StartTier.WARM,
        skipped="Skipping init AND plan restore (using the workspace that was warmed up)",
        otherwise="Restoring what the plan left",
    ),
    Way.RESTORED: _Words(
        what="restored snapshot",
        tier=StartTier.WARM,
        skipped="Skipping init (using the restored workspace)",
        otherwise="Starting cold: init, then the stored plan",
    ),
}


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


def _checks(way: Way, recorded: Recorded, found: Found) -> Iterator[Check]:
    if way is Way.RESTORED:
        yield _providers(found)
    else:
        yield _place("agent", way, recorded.agent_id, found.agent_id)
        yield _place("pod", way, recorded.pod_name, found.pod_name)
        yield _place("slot", way, recorded.slot_id, found.slot_id)
        yield _directory(found)
    yield _plan_hash(recorded, found)
    compare = fingerprint.hot_checks if way is Way.KEPT else fingerprint.warm_checks
    yield from compare(recorded.fingerprint, found.fingerprint)


def _place(name: str, way: Way, prepared: str | int | None, here: str | int) -> Check:
    if prepared is not None and prepared == here:
        return passed(name, f"Same {name} ({here})")
    if prepared is None:
        return differs(name, f"{name.capitalize()} that planned it does not keep it any more")
    done = "planned" if way is Way.KEPT else "warmed up"
    return differs(name, f"{name.capitalize()} differs: {done} in {fingerprint.shown(prepared)}, this is {here}")


def _directory(found: Found) -> Check:
    if found.directory_exists:
        return passed("directory", "Preserved workspace is here")
    return differs("directory", "Preserved workspace is gone")


def _providers(found: Found) -> Check:
    if not found.missing:
        return passed("mirror", "Providers are on this machine")
    return differs("mirror", f"Providers are not on this machine: {', '.join(found.missing)}")


def _plan_hash(recorded: Recorded, found: Found) -> Check:
    planned, here = fingerprint.short(recorded.plan_hash), fingerprint.short(found.plan_hash)
    if fingerprint.is_sha256(recorded.plan_hash) and recorded.plan_hash == found.plan_hash:
        return passed("plan_hash", f"Plan hash verified ({here})")
    return differs("plan_hash", f"Plan hash differs: planned {planned}, found {here}")
