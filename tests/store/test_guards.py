"""Every step of the protocol: its way when all is as it was seen, and each single thing that must stop it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from iacq.domain.pool import PoolPolicy
from iacq.domain.run import Phase, Run, StartTier, Status
from iacq.domain.slot import Closed, SlotStatus
from iacq.domain.transitions import Cause
from iacq.store import pools, runs, slots, workspaces
from iacq.store.protocol import owning, recovering, waiting, warming
from iacq.store.schema import pools as pool_table
from iacq.store.schema import runs as run_table
from iacq.store.schema import slots as slot_table
from iacq.store.session import Raced, Transaction
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
            "status",
            "foreign",
            "slot closed",
            "slot draining",
            "slot of another boot",
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
        stopped_by=("attempt", "status", "foreign", "slot closed", "slot running", *TAKEN, "locked workspace", *FROZEN),
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
            *("slot closed", "slot draining", "slot of another boot", "slot of another run"),
            *("frozen pool", "window that begins"),
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


def is_refused(do: Callable[[Transaction], Any], tx: Transaction) -> bool:
    try:
        do(tx)
    except (Raced, IntegrityError):
        return True
    return False


@pytest.mark.parametrize("name", STEPS)
def test_the_way(world: World, name: str) -> None:
    world.pod()
    step = STEPS[name]
    run = step.begin(world)
    world.check()
    assert world.database.attempt(step.do(world, run)) is not None
    after = world.run(run.id)
    assert after.status is step.end
    assert world.slot().status is step.slot
    assert (world.slot().run_id == run.id) is (step.slot is not FREE)
    world.check()


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if step.stopped_by])
def test_what_stops_it(world: World, name: str) -> None:
    world.pod()
    step = STEPS[name]
    run = step.begin(world)
    do = step.do(world, run)
    for what in step.stopped_by:
        with world.database.transaction() as tx:
            CHANGED[what](tx, run, world.clock.now_ms())
            assert is_refused(do, tx), what
            tx.connection.rollback()
    assert world.database.attempt(do) is not None, "none of it stopped for another reason"


@pytest.mark.parametrize("changed", ["slot closed", "slot draining", "slot free", "locked workspace", *FROZEN])
def test_a_confirmation_is_stored_even_if_the_apply_cannot_start_now(world: World, changed: str) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    world.do(CHANGED[changed], run, world.clock.now_ms())
    confirmed = world.database.attempt(waiting.confirm, run, by="bob", comment="go")
    assert confirmed is not None
    after, bell = confirmed
    assert (after.status, bell) == (S.CONFIRMED, None)
    assert (after.confirmed_by, after.confirmed_comment, after.confirmed_hash) == ("bob", "go", run.plan_hash)
    world.check()


@pytest.mark.parametrize("status", [S.PLANNING, S.APPLYING])
def test_tries_are_bounded(world: World, status: Status) -> None:
    world.pod()
    run = world.at(status)
    claims = 1
    while run.status is status:
        run = world.database.run(recovering.owner_gone, run.id, run.fence, world.place())
        if run.status in (S.PENDING, S.CONFIRMED):
            if run.status is S.PENDING:
                world.do(waiting.dispatch, run, world.slot())
            else:
                world.do(waiting.dispatch_to_own_slot, run)
            run = world.claimed(world.run(run.id))
            claims += 1
        world.check()
    assert run.status is S.FAILED
    assert run.error_code == "tries_used_up"
    assert claims == {S.PLANNING: 3, S.APPLYING: 5}[status]
    assert run.tries == claims


def test_a_pod_that_stops_gives_its_try_back(world: World) -> None:
    world.pod()
    run = world.at(S.PLANNING)
    for _ in range(6):
        back = world.do(owning.give_back, world.hold(run), Cause.STOPPED, counted=False)
        assert (back.status, back.tries) == (S.PENDING, 0)
        world.do(waiting.dispatch, back, world.slot())
        run = world.claimed(world.run(run.id))
        assert run.tries == 1


@pytest.mark.parametrize("name", ["give back a plan", "give back an apply", "not started", "owner of a plan gone"])
def test_every_way_back_obeys_a_cancel(world: World, name: str) -> None:
    world.pod()
    step = STEPS[name]
    run = cancelling(world, step.begin(world))
    assert world.database.attempt(step.do(world, run)) is not None
    assert world.run(run.id).status is S.CANCELLED
    assert world.slot().status is FREE
    world.check()


def test_a_finished_plan_obeys_a_cancel_before_auto_apply(world: World) -> None:
    world.pod()
    run = cancelling(world, world.at(S.PLANNING, auto_apply=True))
    finished, bell = world.do(owning.finish_plan, world.hold(run), world.place(), plan_result())
    assert (finished.status, bell) == (S.CANCELLED, None)
    assert finished.confirmed_at is None
    world.check()


def test_auto_apply_passes_through_every_state(world: World) -> None:
    world.pod()
    run = world.at(S.PLANNING, auto_apply=True)
    finished, bell = world.do(owning.finish_plan, world.hold(run), world.place(), plan_result())
    assert finished.status is S.APPLY_QUEUED
    assert (bell.attempt, bell.queue) == (finished.attempt, "pod1.1")
    events = world.database.read(runs.events_of, run.id)
    assert [event.target for event in events][-3:] == [S.APPLY_PENDING, S.CONFIRMED, S.APPLY_QUEUED]
    assert Cause.AUTO_APPLIED in [event.cause for event in events]
    world.check()


def test_a_plan_that_ends_in_a_closed_slot_leaves_no_reservation(world: World) -> None:
    world.pod()
    run = world.at(S.PLANNING)
    world.set_slot(1, closed=Closed.DRAINING)
    finished = world.planned(run)
    assert finished.status is S.APPLY_PENDING
    assert finished.prepared_pod_name is None
    assert world.slot().status is FREE
    world.check()


def test_a_plan_that_ends_in_a_frozen_pool_leaves_no_reservation(world: World) -> None:
    world.pod()
    run = world.at(S.PLANNING, auto_apply=True)
    world.do(CHANGED["frozen pool"], run, world.clock.now_ms())
    finished = world.planned(run)
    assert (finished.status, finished.prepared_pod_name) == (S.CONFIRMED, None)
    assert world.slot().status is FREE
    world.check()


def test_a_window_that_begins_later_stops_nothing(world: World) -> None:
    world.pod()
    world.do(CHANGED["window that begins later"], world.enqueue(), world.clock.now_ms())
    assert world.at(S.APPLYING).status is S.APPLYING


def test_a_new_claim_was_asked_for_nothing(world: World) -> None:
    world.pod()
    run = asked_to_stop(world, world.at(S.PLANNING))
    back = world.do(owning.give_back, world.hold(run), Cause.FROZEN, counted=False)
    assert back.tries == 0
    world.do(waiting.dispatch, back, world.slot())
    run = world.claimed(world.run(run.id))
    assert (run.freeze_requested_at, run.tries) == (None, 1)


def test_an_apply_elsewhere_releases_its_own_slot(world: World) -> None:
    world.pod()
    run = world.at(S.CONFIRMED)
    assert run.prepared_slot_id == 1
    world.do(waiting.dispatch, run, world.slot(2))
    assert (world.slot(1).run_id, world.slot(2).run_id) == (None, run.id)
    assert world.run(run.id).prepared_slot_id is None
    world.check()


def test_plans_are_dispatched_in_a_locked_workspace(world: World) -> None:
    from iacq.domain.run import RunType

    world.pod()
    run = world.enqueue(run_type=RunType.PLAN)
    world.do(workspaces.lock, "network", by="eve", reason="x")
    assert world.database.attempt(waiting.dispatch, run, world.slot()) is not None


def test_force_cancels_after_effects(world: World) -> None:
    world.pod()
    run = world.with_effects()
    asked = world.do(waiting.request_cancel, run, by="bob", force=True)
    assert asked.cancel_requested_by == "bob"
    again = world.do(waiting.request_cancel, run, by="eve", force=True)
    assert again.cancel_requested_by == "bob", "the first one is kept"
    assert world.do(owning.renew, world.hold(run), lease_ms=LEASE_MS, stage="init").cancel_requested_at is not None


def test_only_a_closed_slot_that_answers_opens(world: World) -> None:
    world.pod()
    for why, opens in ((Closed.STARTING, True), (Closed.NOT_ANSWERING, True), (Closed.DRAINING, False)):
        world.set_slot(1, closed=why)
        assert world.do(slots.open_again, world.place(agent_id="pod1-boot0")) is False
        assert world.do(slots.open_again, world.place()) is opens
    world.set_slot(1, closed=Closed.OFFLINE)
    assert world.do(slots.open_again, world.place()) is False, "it opens when the agent registers anew"
