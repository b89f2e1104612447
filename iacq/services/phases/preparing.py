"""The directory that an apply starts in: the plan's, one that was warmed up, or one made of the stored snapshot."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from iacq.domain import fingerprint, tiers
from iacq.domain.fingerprint import Fingerprint
from iacq.domain.run import Run, StartTier, WarmupStatus, directory_name
from iacq.domain.terraform_commands import PLAN_FILE
from iacq.domain.tiers import Decision, Found, Way
from iacq.errors import PhaseFailed
from iacq.services.phases import initializing
from iacq.services.phases.context import PhaseContext
from iacq.services.phases.plan import take_fingerprint
from iacq.store import states as state_rows


def find(ctx: PhaseContext) -> StartTier | None:
    """Look for a directory of this run in this slot, and compare it with what the plan recorded. None: none will do."""
    run, workshop = ctx.run, ctx.worker.workshop
    know_state(ctx)
    if run.warmup_status is WarmupStatus.READY:
        way, ctx.tree = Way.WARMED_UP, workshop.take(directory_name(run.id, run.warmup_fence), link(run))
    else:
        way, ctx.tree = Way.KEPT, workshop.kept(link(run), link(run))
    return _decide(ctx, way).tier


def link(run: Run) -> str:
    """Name the canonical path of a run that was planned, and the directory that its plan left."""
    return directory_name(run.id, run.plan_fence)


def know_state(ctx: PhaseContext) -> None:
    """Note who keeps the state, and what it is now if we do."""
    ctx.managed = ctx.run.planned_state is not None
    ctx.state = None
    if ctx.managed:
        version = ctx.persist(lambda: ctx.core.database.read(state_rows.current, ctx.run.workspace))
        ctx.state = {"lineage": version.lineage if version else None, "serial": version.serial if version else None}


def restore(ctx: PhaseContext) -> StartTier:
    """Make a fresh directory of the snapshot; says whether the apply can start in it as it is, or needs init first.

    Raises PhaseFailed if what is stored is not what was confirmed.
    """
    unpack(ctx, lead=True)
    return verify(ctx).tier or StartTier.COLD


def unpack(ctx: PhaseContext, *, lead: bool) -> None:
    """Make a fresh directory of the snapshot and the stored plan. lead: the canonical path leads there at once."""
    initializing.require_free_space(ctx)
    snapshot = ctx.load("snapshot")
    ctx.tree = ctx.worker.workshop.unpack_snapshot(
        directory_name(ctx.run.id, ctx.hold.fence), link(ctx.run), snapshot, subdir=ctx.inputs.source.subdir, lead=lead
    )
    plan_file = ctx.load("plan")
    found = hashlib.sha256(plan_file).hexdigest()
    if found != ctx.run.plan_hash:
        raise PhaseFailed(
            f"the stored plan is not the one that was confirmed: its hash is {found[:12]}, "
            f"confirmed was {(ctx.run.plan_hash or 'none')[:12]}",
            code="hash_mismatch",
        )
    (ctx.tree.tree / PLAN_FILE).write_bytes(plan_file)
    ctx.log.write(f"✓ Stored plan restored, hash verified ({found[:12]})")


def verify(ctx: PhaseContext) -> Decision:
    """Link this machine's providers into a directory that was just made, and compare all that the plan relies on."""
    program = Path(ctx.terraform["path"])
    planned = fingerprint.providers_of(fingerprint.mapping(ctx.run.fingerprint))
    missing = ctx.worker.workshop.link_providers(ctx.directory, program, tuple(planned.values()))
    return _decide(ctx, Way.RESTORED, missing=missing)


def _decide(ctx: PhaseContext, way: Way, *, missing: tuple[str, ...] = ()) -> Decision:
    decision = tiers.decide(way, tiers.recorded_of(ctx.run), _found(ctx, missing))
    ctx.log.write("\n".join(decision.lines))
    return decision


def _found(ctx: PhaseContext, missing: tuple[str, ...] = ()) -> Found:
    place, tree = ctx.worker.place, ctx.tree
    plan_hash = None
    if tree is not None:
        with contextlib.suppress(OSError):
            plan_hash = hashlib.sha256((tree.tree / PLAN_FILE).read_bytes()).hexdigest()
    return Found(
        agent_id=place.agent_id,
        pod_name=place.pod_name,
        slot_id=place.slot_id,
        directory_exists=tree is not None,
        plan_hash=plan_hash,
        fingerprint=_fingerprint(ctx),
        missing=missing,
    )


def _fingerprint(ctx: PhaseContext) -> Fingerprint | None:
    if ctx.tree is None:
        return None
    with contextlib.suppress(OSError):  # a provider that the directory leads to was removed: it is as if it were gone
        return take_fingerprint(ctx)
    return None


def init_cold(ctx: PhaseContext) -> None:
    """Initialize the restored directory, and check that nothing that the plan relies on has changed."""
    initializing.initialize(ctx, readonly_lock=True)
    lines, error = tiers.compare_for_cold(tiers.recorded_of(ctx.run), _found(ctx))
    ctx.log.write("\n".join(lines))
    if error is not None:
        raise PhaseFailed(error, code="changed_since_plan")
