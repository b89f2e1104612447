"""Every step of the protocol as data: its way when all is as it was seen, and each single thing that must stop it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from iacq.domain.pool import PoolPolicy
from iacq.domain.run import Phase, Run, StartTier, Status
from iacq.domain.slot import Closed, SlotStatus
from iacq.domain.transitions import Cause
from iacq.store import pools, runs, workspaces
from iacq.store.protocol import owning, recovering, waiting, warming
from iacq.store.schema import pools as pool_table
from iacq.store.schema import runs as run_table
from iacq.store.schema import slots as slot_table
from iacq.store.session import Transaction
from tests.store.world import CLAIM_MS, EXPIRES_MS, LEASE_MS, TTL_MS, WARMUP_MS, World, plan_result

S = Status
Change = Callable[[Transaction, Run, int], object]


def _run(**values: Any) -> Change:
    return lambda tx, run, _now: tx.execute(run_table.update().where(run_table.c.id == run.id).values(**values))


def _add(column: str, number: int) -> Change:
    return _run(**{column: run_table.c[column] + number})


def _now(column: str, later: int = 0) -> Change:
    return lambda tx, run, now: _run(**{column: now + later})(tx, run, now)


def _slot(**values: Any) -> Change:
    return lambda tx, _run, _now: tx.execute(slot_table.update().where(slot_table.c.slot_id == 1).values(**values))


def _give_slot_away(tx: Transaction, run: Run, _now: int) -> object:
    other = sa.select(run_table.c.id).where(run_table.c.fence.is_(None)).limit(1).scalar_subquery()
    held = {"run_id": other, "status": SlotStatus.RUNNING}
    return tx.execute(slot_table.update().where(slot_table.c.slot_id == 1).values(**held))


def _pool(column: str, later: int = 0) -> Change:
    def change(tx: Transaction, run: Run, now: int) -> None:
        pools.set_policy(tx, run.pool, PoolPolicy(max_pods=1))
        tx.execute(pool_table.update().values({column: now + later}))

    return change


CHANGED: dict[str, Change] = {
    "fence": _add("fence", 1),
    "attempt": _add("attempt", 1),
    "moved to another pool": _run(pool="trusted"),
    "owner": _run(owner="pod1-boot1/1/b"),
    "queue": _run(queue="pod1.2"),
    "status": _run(status=S.CANCELLED),
    "foreign": _run(fence=None),
    "cancel": _run(cancel_requested_ms=1),
    "no cancel": _run(cancel_requested_ms=None),
    "expired lease": _now("lease_until"),
    "renewed lease": _add("lease_until", 1),
    "living lease": _now("lease_until", 1),
    "effects": _run(effects_at_ms=1, effects_fence=99),
    "no effects": _run(effects_at_ms=None, effects_fence=None),
    "hash": _run(plan_hash="cd" * 32),
    "expired plan": _now("expires_ms"),
    "unexpired plan": _now("expires_ms", 1),
    "slot closed": _slot(closed=Closed.NOT_ANSWERING),
    "slot draining": _slot(closed=Closed.DRAINING),
    "slot of another boot": _slot(agent_id="pod1-boot2"),
    "slot of another pool": _slot(pool="trusted"),
    "slot free": _slot(run_id=None, status=SlotStatus.IDLE),
    "slot reserved": _slot(status=SlotStatus.RESERVED),
    "slot running": _slot(status=SlotStatus.RUNNING),
    "slot of another run": _give_slot_away,
    "warmed up meanwhile": _add("warmup_retry_count", 1),
    "warm-up claimed": _run(warmup_fence=99),
    "warm-up ready": _run(warmup_status="ready"),
    "warm-up expired": _run(warmup_status="expired"),
    "no warm-up": _run(**runs.LOST_PLACE),
    "warm-up in time": _now("warmup_until_ms", 1),
    "prepared": _run(warmup_agent_id="pod1-boot1"),
    "locked workspace": lambda tx, run, _now: workspaces.lock(tx, run.workspace, by="eve", reason="x"),
    "frozen pool": _pool("frozen_ms"),
    "window that begins": _pool("freezes_ms"),
    "window that begins later": _pool("freezes_ms", 1),
    "asked to stop": _run(freeze_requested_ms=1),
    "not asked to stop": _run(freeze_requested_ms=None),
    "no workspace": lambda tx, run, _now: tx.execute(workspaces.workspaces.delete()),
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: where it begins, what it does with the run as it was seen, where it leads, what stops it."""

    begin: Callable[[World], Run]
    do: Callable[[World, Run], Callable[[Any], Any]]
    end: Status
    slot: SlotStatus | None  # of slot 1 afterwards, held by the run unless idle
    stopped_by: tuple[str, ...]


def expired(world: World, run: Run) -> Run:
    world.clock.advance(LEASE_MS / 1000 + 1)
    return run


def waited(world: World, run: Run, ms: int) -> Run:
    world.clock.advance(ms / 1000)
    return run


def confirmed(world: World, run: Run) -> Run:
    queued: Run = world.do(waiting.confirm, run, by="bob", comment=None)[0]
    return queued


def cancelling(world: World, run: Run) -> Run:
    world.set_run(run.id, cancel_requested_ms=1)
    return world.run(run.id)


def planned_long_ago(world: World) -> Run:
    run = world.at(S.APPLY_PENDING)
    world.clock.advance(EXPIRES_MS / 1000)
    return run


def asked_to_stop(world: World, run: Run) -> Run:
    asked: Run = world.do(waiting.request_stop, run, begun=False)
    return asked


FROZEN = ("frozen pool", "window that begins")
OWNED = ("fence", "owner", "status", "foreign")
FREE, HELD, KEPT = SlotStatus.IDLE, SlotStatus.RUNNING, SlotStatus.RESERVED
TAKEN = ("slot free", "slot of another run")

STEPS: dict[str, Step] = {
    "dispatch a plan": Step(
        begin=lambda world: world.at(S.PENDING),
        do=lambda world, run: functools.partial(waiting.dispatch, run=run, slot=world.slot()),
        end=S.PLAN_QUEUED,
        slot=HELD,
        stopped_by=(
            "attempt",
            "moved to another pool",
            "status",
            "foreign",
            "slot closed",
            "slot draining",
            "slot of another boot",
            "slot of another pool",
            "slot of another run",
            "locked workspace",
            "no workspace",
            *FROZEN,
        ),
    ),
    "dispatch to its own slot": Step(
        begin=lambda world: world.at(S.CONFIRMED),
        do=lambda world, run: lambda tx: waiting.dispatch_to_own_slot(tx, run),
        end=S.APPLY_QUEUED,
        slot=HELD,
        stopped_by=(
            *("attempt", "moved to another pool", "status", "foreign", "locked workspace", *FROZEN),
            *("slot closed", "slot running", "slot of another pool", *TAKEN),
        ),
    ),
    "confirm": Step(
        begin=lambda world: world.at(S.APPLY_PENDING),
        do=lambda world, run: lambda tx: waiting.confirm(tx, run, by="bob", comment=None),
        end=S.APPLY_QUEUED,
        slot=HELD,
        stopped_by=("hash", "expired plan", "status", "foreign"),
    ),
    "discard": Step(
        begin=lambda world: world.at(S.APPLY_PENDING),
        do=lambda world, run: lambda tx: waiting.discard(tx, run, by="bob"),
        end=S.DISCARDED,
        slot=FREE,
        stopped_by=("hash", "status", "foreign"),
    ),
    "expire": Step(
        begin=planned_long_ago,
        do=lambda world, run: lambda tx: waiting.expire(tx, run),
        end=S.DISCARDED,
        slot=FREE,
        stopped_by=("unexpired plan", "status", "foreign"),
    ),
    **{
        f"cancel {status}": Step(
            begin=lambda world, status=status: world.at(status),
            do=lambda world, run: lambda tx: waiting.cancel(tx, run, by="bob"),
            end=S.CANCELLED,
            slot=FREE,
            stopped_by=("attempt", "foreign"),
        )
        for status in (S.PENDING, S.PLAN_QUEUED, S.APPLY_PENDING, S.CONFIRMED, S.APPLY_QUEUED)
    },
    "request the cancel of a plan": Step(
        begin=lambda world: world.at(S.PLANNING),
        do=lambda world, run: lambda tx: waiting.request_cancel(tx, run, by="bob", force=False),
        end=S.PLANNING,
        slot=HELD,
        stopped_by=("fence", "status", "foreign"),
    ),
    "request the cancel of an apply": Step(
        begin=lambda world: world.at(S.APPLYING),
        do=lambda world, run: lambda tx: waiting.request_cancel(tx, run, by="bob", force=False),
        end=S.APPLYING,
        slot=HELD,
        stopped_by=("fence", "status", "effects", "foreign"),
    ),
    **{
        f"ask {status} to stop": Step(
            begin=lambda world, status=status: world.at(status),
            do=lambda world, run: lambda tx: waiting.request_stop(tx, run, begun=False),
            end=status,
            slot=HELD,
            stopped_by=("fence", "status", "foreign", "effects", "asked to stop"),
        )
        for status in (S.PLANNING, S.APPLYING)
    },
    "ask an apply with effects to stop": Step(
        begin=lambda world: world.with_effects(),
        do=lambda world, run: lambda tx: waiting.request_stop(tx, run, begun=True),
        end=S.APPLYING,
        slot=HELD,
        stopped_by=("fence", "status", "foreign", "asked to stop"),
    ),
    "withdraw that": Step(
        begin=lambda world: asked_to_stop(world, world.at(S.PLANNING)),
        do=lambda world, run: lambda tx: waiting.withdraw_stop(tx, run),
        end=S.PLANNING,
        slot=HELD,
        stopped_by=("fence", "status", "foreign", "not asked to stop"),
    ),
    **{
        f"give back {status} for a freeze": Step(
            begin=lambda world, status=status: asked_to_stop(world, world.at(status)),
            do=lambda world, run: lambda tx: owning.give_back(tx, world.hold(run), Cause.FROZEN, counted=False),
            end=back,
            slot=FREE,
            stopped_by=(*OWNED, "effects", "not asked to stop"),
        )
        for status, back in ((S.PLANNING, S.PENDING), (S.APPLYING, S.CONFIRMED))
    },
    "take back a plan": Step(
        begin=lambda world: world.at(S.PLAN_QUEUED),
        do=lambda world, run: lambda tx: waiting.take_back(tx, run, close_slot=Closed.NOT_ANSWERING),
        end=S.PENDING,
        slot=FREE,
        stopped_by=("attempt", "status", "foreign"),
    ),
    "take back an apply": Step(
        begin=lambda world: world.at(S.APPLY_QUEUED),
        do=lambda world, run: lambda tx: waiting.take_back(tx, run),
        end=S.CONFIRMED,
        slot=FREE,
        stopped_by=("attempt", "status", "foreign"),
    ),
    "give up a reservation": Step(
        begin=lambda world: world.at(S.APPLY_PENDING),
        do=lambda world, run: functools.partial(waiting.give_up_reservation, run=run, slot=world.slot()),
        end=S.APPLY_PENDING,
        slot=FREE,
        stopped_by=("attempt", "status", "foreign", "slot running", *TAKEN),
    ),
    **{
        f"claim {status}": Step(
            begin=lambda world, status=status: world.at(status),
            do=lambda world, run, phase=phase: (
                lambda tx: owning.claim(tx, run.id, phase, run.attempt, world.place(), lease_ms=LEASE_MS)
            ),
            end=end,
            slot=HELD,
            stopped_by=(
                "attempt",
                "queue",
                "cancel",
                "status",
                "foreign",
                "slot of another boot",
                "slot reserved",
                *TAKEN,
                *FROZEN,
            ),
        )
        for status, phase, end in (
            (S.PLAN_QUEUED, Phase.PLAN, S.PLANNING),
            (S.APPLY_QUEUED, Phase.APPLY, S.APPLYING),
        )
    },
    "begin a warm-up": Step(
        begin=lambda world: world.lost(),
        do=lambda world, run: functools.partial(warming.begin, run=run, slot=world.slot(), claim_within_ms=CLAIM_MS),
        end=S.APPLY_PENDING,
        slot=KEPT,
        stopped_by=(
            *("status", "foreign", "warmed up meanwhile", "warm-up ready", "warm-up expired", "prepared"),
            *("slot closed", "slot draining", "slot of another boot", "slot of another run", "slot of another pool"),
            *("moved to another pool", "frozen pool", "window that begins"),
        ),
    ),
    "claim a warm-up": Step(
        begin=lambda world: world.warming(),
        do=lambda world, run: (
            lambda tx: warming.claim(tx, run.id, run.warmup_retries, world.place(), within_ms=WARMUP_MS)
        ),
        end=S.APPLY_PENDING,
        slot=KEPT,
        stopped_by=(
            *("status", "foreign", "warmed up meanwhile", "warm-up claimed", "warm-up ready", "no warm-up"),
            *("slot of another boot", *TAKEN, "frozen pool", "window that begins"),
        ),
    ),
    "ask whether a warm-up is wanted": Step(
        begin=lambda world: world.warming(claimed=True),
        do=lambda world, run: lambda tx: warming.renew(tx, world.warm_hold(run)),
        end=S.APPLY_PENDING,
        slot=KEPT,
        stopped_by=("status", "foreign", "warm-up claimed", "warm-up ready", "no warm-up"),
    ),
    "end a warm-up": Step(
        begin=lambda world: world.warming(claimed=True),
        do=lambda world, run: lambda tx: warming.finish(tx, world.warm_hold(run), world.place(), ttl_ms=TTL_MS),
        end=S.APPLY_PENDING,
        slot=KEPT,
        stopped_by=(
            *("status", "foreign", "warm-up claimed", "warm-up ready", "no warm-up"),
            *("slot of another boot", *TAKEN),
        ),
    ),
    "fail a warm-up": Step(
        begin=lambda world: world.warming(claimed=True),
        do=lambda world, run: lambda tx: warming.fail(tx, world.warm_hold(run), world.place()),
        end=S.APPLY_PENDING,
        slot=FREE,
        stopped_by=("status", "foreign", "warm-up claimed", "warm-up ready", "no warm-up", "slot of another boot"),
    ),
    "give up a warm-up": Step(
        begin=lambda world: waited(world, world.warming(), CLAIM_MS),
        do=lambda world, run: lambda tx: warming.give_up(tx, run, close_slot=Closed.NOT_ANSWERING),
        end=S.APPLY_PENDING,
        slot=FREE,
        stopped_by=(
            *("status", "foreign", "warmed up meanwhile", "warm-up claimed", "warm-up ready", "warm-up in time"),
        ),
    ),
    "expire a warm-up": Step(
        begin=lambda world: waited(world, world.ready(), TTL_MS),
        do=lambda world, run: lambda tx: warming.expire(tx, run),
        end=S.APPLY_PENDING,
        slot=FREE,
        stopped_by=("status", "foreign", "warm-up claimed", "no warm-up", "warm-up in time"),
    ),
    "claim behind a warm-up": Step(
        begin=lambda world: confirmed(world, world.warming(claimed=True)),
        do=lambda world, run: (
            lambda tx: owning.claim(tx, run.id, Phase.APPLY, run.attempt, world.place(), lease_ms=LEASE_MS)
        ),
        end=S.APPLYING,
        slot=HELD,
        stopped_by=("attempt", "queue", "cancel", "slot of another boot", *TAKEN),
    ),
    "renew": Step(
        begin=lambda world: world.at(S.PLANNING),
        do=lambda world, run: lambda tx: owning.renew(tx, world.hold(run), lease_ms=LEASE_MS, stage="init"),
        end=S.PLANNING,
        slot=HELD,
        stopped_by=OWNED,
    ),
    "point of no return": Step(
        begin=lambda world: world.at(S.APPLYING),
        do=lambda world, run: lambda tx: owning.pass_point_of_no_return(tx, world.hold(run), StartTier.HOT),
        end=S.APPLYING,
        slot=HELD,
        stopped_by=(*OWNED, "expired lease", "cancel", "effects", "asked to stop"),
    ),
    "cancel before effects": Step(
        begin=lambda world: cancelling(world, world.at(S.APPLYING)),
        do=lambda world, run: lambda tx: owning.cancel_before_effects(tx, world.hold(run)),
        end=S.CANCELLED,
        slot=FREE,
        stopped_by=(*OWNED, "no cancel", "effects"),
    ),
    "give back a plan": Step(
        begin=lambda world: world.at(S.PLANNING),
        do=lambda world, run: lambda tx: owning.give_back(tx, world.hold(run), Cause.END_UNKNOWN),
        end=S.PENDING,
        slot=FREE,
        stopped_by=OWNED,
    ),
    "give back an apply": Step(
        begin=lambda world: world.at(S.APPLYING),
        do=lambda world, run: lambda tx: owning.give_back(tx, world.hold(run), Cause.STOPPED, counted=False),
        end=S.CONFIRMED,
        slot=KEPT,
        stopped_by=(*OWNED, "effects"),
    ),
    "not started": Step(
        begin=lambda world: world.with_effects(),
        do=lambda world, run: lambda tx: owning.give_back(tx, world.hold(run), Cause.NOT_STARTED),
        end=S.CONFIRMED,
        slot=KEPT,
        stopped_by=OWNED,
    ),
    "finish a plan": Step(
        begin=lambda world: world.at(S.PLANNING),
        do=lambda world, run: lambda tx: owning.finish_plan(tx, world.hold(run), world.place(), plan_result()),
        end=S.APPLY_PENDING,
        slot=KEPT,
        stopped_by=OWNED,
    ),
    "finish an apply": Step(
        begin=lambda world: world.with_effects(),
        do=lambda world, run: lambda tx: owning.finish_apply(tx, world.hold(run), S.APPLIED),
        end=S.APPLIED,
        slot=FREE,
        stopped_by=OWNED,
    ),
    "interrupt": Step(
        begin=lambda world: world.with_effects(),
        do=lambda world, run: lambda tx: owning.interrupt(tx, world.hold(run)),
        end=S.APPLY_INTERRUPTED,
        slot=FREE,
        stopped_by=(*OWNED, "no effects"),
    ),
    "lose the lease of a plan": Step(
        begin=lambda world: expired(world, world.at(S.PLANNING)),
        do=lambda world, run: lambda tx: recovering.lose_lease(tx, run),
        end=S.PENDING,
        slot=FREE,
        stopped_by=("fence", "status", "foreign", "renewed lease", "living lease"),
    ),
    "lose the lease of an apply": Step(
        begin=lambda world: expired(world, world.at(S.APPLYING)),
        do=lambda world, run: lambda tx: recovering.lose_lease(tx, run),
        end=S.CONFIRMED,
        slot=KEPT,
        stopped_by=("fence", "status", "foreign", "renewed lease", "living lease"),
    ),
    "lose the lease with effects": Step(
        begin=lambda world: expired(world, world.with_effects()),
        do=lambda world, run: lambda tx: recovering.lose_lease(tx, run),
        end=S.APPLY_INTERRUPTED,
        slot=HELD,
        stopped_by=("fence", "status", "foreign", "renewed lease", "living lease"),
    ),
    "owner of a plan gone": Step(
        begin=lambda world: world.at(S.PLANNING),
        do=lambda world, run: lambda tx: recovering.owner_gone(tx, run.id, run.fence, world.place(boot="b")),
        end=S.PENDING,
        slot=FREE,
        stopped_by=("fence", "status", "foreign", "effects", "slot of another boot", *TAKEN),
    ),
    "owner of an apply gone": Step(
        begin=lambda world: world.at(S.APPLYING),
        do=lambda world, run: lambda tx: recovering.owner_gone(tx, run.id, run.fence, world.place(boot="b")),
        end=S.CONFIRMED,
        slot=KEPT,
        stopped_by=("fence", "status", "foreign", "effects", "slot of another boot", *TAKEN),
    ),
    **{
        f"adopt {name}": Step(
            begin=begin,
            do=lambda world, run: (
                lambda tx: recovering.adopt(
                    tx, run.id, run.effects_fence or 0, world.place(boot="b"), lease_ms=LEASE_MS
                )
            ),
            end=S.APPLYING,
            slot=HELD,
            stopped_by=("status", "foreign", "effects", "slot of another boot", *TAKEN),
        )
        for name, begin in {
            "a running apply": lambda world: world.with_effects(),
            "an interrupted apply": lambda world: world.at(S.APPLY_INTERRUPTED),
        }.items()
    },
    "report late": Step(
        begin=lambda world: world.at(S.APPLY_INTERRUPTED),
        do=lambda world, run: lambda tx: recovering.late_report(tx, run.id, run.effects_fence or 0, S.APPLIED),
        end=S.APPLIED,
        slot=FREE,
        stopped_by=("status", "foreign", "effects"),
    ),
    "never started": Step(
        begin=lambda world: world.at(S.APPLY_INTERRUPTED),
        do=lambda world, run: lambda tx: recovering.never_started(tx, run.id, run.effects_fence or 0),
        end=S.FAILED,
        slot=FREE,
        stopped_by=("status", "foreign", "effects"),
    ),
    "prove the end": Step(
        begin=lambda world: world.at(S.APPLY_INTERRUPTED),
        do=lambda world, run: lambda tx: recovering.prove_end(tx, run.id, run.effects_fence or 0),
        end=S.APPLY_INTERRUPTED,
        slot=FREE,
        stopped_by=("status", "foreign", "effects"),
    ),
    "resolve by force": Step(
        begin=lambda world: world.at(S.APPLY_INTERRUPTED),
        do=lambda world, run: lambda tx: recovering.resolve(tx, run, S.FAILED, by="bob", comment="looked", force=True),
        end=S.FAILED,
        slot=FREE,
        stopped_by=("fence", "status", "foreign"),
    ),
}
