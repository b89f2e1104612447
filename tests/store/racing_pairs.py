"""Pairs of steps that race, as data: what comes of each pair in one order and in the other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from iacq.domain.freeze.windows import Manual
from iacq.domain.run import Phase, Run, RunType, StartTier, Status
from iacq.domain.slot import Closed, Slot
from iacq.store import freezes, pod_lifecycle, pods, workspaces
from iacq.store.pods import Registration
from iacq.store.protocol import owning, recovering, waiting, warming
from iacq.store.session import Transaction
from tests import samples
from tests.store.world import AGENT, CLAIM_MS, LEASE_MS, POD, TTL_MS, WARMUP_MS, World, plan_result

S = Status
SILENT_MS = 3_600_000
Step = Callable[[Transaction], Any]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What both processes saw before either did anything."""

    world: World
    run: Run
    other: Run | None
    slot: Slot
    slot2: Slot


@dataclass(frozen=True, kw_only=True)
class Came:
    """What came of it: whether each of them was accepted, and the state of the run."""

    first: bool
    second: bool
    status: Status


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two steps that must not both believe that they were first."""

    begin: Callable[[World], Run]
    first: Callable[[Seen], Step]
    second: Callable[[Seen], Step]
    in_order: Came
    reversed: Came
    second_is_late: bool = False  # it runs where the clock says that lease and plan have expired
    other: Callable[[World], Run] | None = None


def confirm(seen: Seen) -> Step:
    return lambda tx: waiting.confirm(tx, seen.run, by="bob", comment=None)


def claim(seen: Seen) -> Step:
    phase = Phase.PLAN if seen.run.status is S.PLAN_QUEUED else Phase.APPLY
    place = seen.world.place()
    return lambda tx: owning.claim(tx, seen.run.id, phase, seen.run.attempt, place, lease_ms=LEASE_MS)


def point_of_no_return(seen: Seen) -> Step:
    hold = seen.world.hold(seen.run)
    return lambda tx: owning.pass_point_of_no_return(tx, hold, StartTier.HOT)


def lose_lease(seen: Seen) -> Step:
    return lambda tx: recovering.lose_lease(tx, seen.run)


def adopt(seen: Seen) -> Step:
    place = seen.world.place(boot="b")
    return lambda tx: recovering.adopt(tx, seen.run.id, seen.run.effects_fence or 0, place, lease_ms=LEASE_MS)


def late_report(seen: Seen) -> Step:
    return lambda tx: recovering.late_report(tx, seen.run.id, seen.run.effects_fence or 0, S.APPLIED)


def resolve(seen: Seen) -> Step:
    return lambda tx: recovering.resolve(tx, seen.run, S.FAILED, by="bob", comment="x", force=True)


def finish(seen: Seen) -> Step:
    hold = seen.world.hold(seen.run)
    if seen.run.status is S.PLANNING:
        return lambda tx: owning.finish_plan(tx, hold, seen.world.place(), plan_result())
    return lambda tx: owning.finish_apply(tx, hold, S.APPLIED)


def dispatch(seen: Seen) -> Step:
    return lambda tx: waiting.dispatch(tx, seen.run, seen.slot)


def dispatch_other(seen: Seen) -> Step:
    other = seen.other
    assert other is not None
    slot = seen.slot2 if other.workspace == seen.run.workspace else seen.slot
    return lambda tx: waiting.dispatch(tx, other, slot)


def cancel(seen: Seen) -> Step:
    return lambda tx: waiting.cancel(tx, seen.run, by="eve")


def move_workspace(seen: Seen) -> Step:
    moved = samples.workspace(seen.run.workspace, pool="trusted")
    return lambda tx: workspaces.update(tx, moved, secrets=None)


def freeze(_seen: Seen) -> Step:
    def mark(tx: Transaction) -> object:
        found = freezes.lock(tx, "default")
        freezes.set_manual(tx, "default", Manual(since=found.now, until=None, reason="x", by="eve"))
        return freezes.settle(tx, "default")

    return mark


def ask_to_stop(seen: Seen) -> Step:
    return lambda tx: waiting.request_stop(tx, seen.run, begun=False)


def take_back(seen: Seen) -> Step:
    return lambda tx: waiting.take_back(tx, seen.run, close_slot=Closed.NOT_ANSWERING)


def lose_pod(seen: Seen) -> Step:
    return lambda tx: recovering.lose_pod(tx, seen.run)


def drain_if_idle(seen: Seen) -> Step:
    return lambda tx: pod_lifecycle.drain_if_idle(tx, POD, reason="not needed")


def drain(seen: Seen) -> Step:
    return lambda tx: pod_lifecycle.drain(tx, POD, reason="by alice")


def silent_for_long(world: World) -> Run:
    run = world.at(S.PENDING)
    world.clock.advance(SILENT_MS / 1000)
    return run


def forget_pods(seen: Seen) -> Step:
    return lambda tx: pod_lifecycle.forget_strays(tx, runtime=None, older_than_ms=SILENT_MS)


def register(seen: Seen) -> Step:
    return lambda tx: pods.register(tx, Registration(pod_name=POD, agent_id=AGENT, pool="default", slots=2))


def only(status_if_first: Status, status_if_second: Status) -> dict[str, Came]:
    """Exactly one of the two is accepted."""
    return {
        "in_order": Came(first=True, second=False, status=status_if_first),
        "reversed": Came(first=False, second=True, status=status_if_second),
    }


def begin_warmup(seen: Seen) -> Step:
    return lambda tx: warming.begin(tx, seen.run, seen.slot, claim_within_ms=CLAIM_MS)


def claim_warmup(seen: Seen) -> Step:
    retry, place = seen.run.warmup_retries, seen.world.place()
    return lambda tx: warming.claim(tx, seen.run.id, retry, place, within_ms=WARMUP_MS)


def finish_warmup(seen: Seen) -> Step:
    hold = seen.world.warm_hold(seen.run)
    return lambda tx: warming.finish(tx, hold, seen.world.place(), ttl_ms=TTL_MS)


def fail_warmup(seen: Seen) -> Step:
    hold = seen.world.warm_hold(seen.run)
    return lambda tx: warming.fail(tx, hold, seen.world.place())


def expire_warmup(seen: Seen) -> Step:
    return lambda tx: warming.expire(tx, seen.run)


def give_up_warmup(seen: Seen) -> Step:
    return lambda tx: warming.give_up(tx, seen.run, close_slot=Closed.NOT_ANSWERING)


def both(status: Status, reversed_status: Status) -> dict[str, Came]:
    """Both are accepted, whoever is first."""
    return {
        "in_order": Came(first=True, second=True, status=status),
        "reversed": Came(first=True, second=True, status=reversed_status),
    }


PAIRS: dict[str, Pair] = {
    "warm-up / warm-up": Pair(
        begin=lambda world: world.lost(),
        first=begin_warmup,
        second=begin_warmup,
        **only(S.APPLY_PENDING, S.APPLY_PENDING),
    ),
    "warm-up / another run in that slot": Pair(
        begin=lambda world: world.lost(),
        other=lambda world: world.at(S.PENDING, workspace="other"),
        first=begin_warmup,
        second=lambda seen: lambda tx: waiting.dispatch(tx, seen.other, seen.slot),
        **only(S.APPLY_PENDING, S.APPLY_PENDING),
    ),
    "warm-up / discard": Pair(
        begin=lambda world: world.lost(),
        first=begin_warmup,
        second=lambda seen: lambda tx: waiting.discard(tx, seen.run, by="eve"),
        in_order=Came(first=True, second=True, status=S.DISCARDED),
        reversed=Came(first=False, second=True, status=S.DISCARDED),
    ),
    "warm-up / confirm": Pair(
        begin=lambda world: world.lost(),
        first=begin_warmup,
        second=confirm,
        **both(S.APPLY_QUEUED, S.CONFIRMED),
    ),
    "claim a warm-up / claim it": Pair(
        begin=lambda world: world.warming(),
        first=claim_warmup,
        second=claim_warmup,
        **only(S.APPLY_PENDING, S.APPLY_PENDING),
    ),
    "claim a warm-up / confirm": Pair(
        begin=lambda world: world.warming(),
        first=claim_warmup,
        second=confirm,
        **both(S.APPLY_QUEUED, S.APPLY_QUEUED),
    ),
    "claim a warm-up / give it up": Pair(
        begin=lambda world: world.warming(),
        first=claim_warmup,
        second=give_up_warmup,
        second_is_late=True,
        **only(S.APPLY_PENDING, S.APPLY_PENDING),
    ),
    "end a warm-up / confirm": Pair(
        begin=lambda world: world.warming(claimed=True),
        first=finish_warmup,
        second=confirm,
        **both(S.APPLY_QUEUED, S.APPLY_QUEUED),
    ),
    "end a warm-up / give it up": Pair(
        begin=lambda world: world.warming(claimed=True),
        first=finish_warmup,
        second=give_up_warmup,
        second_is_late=True,
        **only(S.APPLY_PENDING, S.APPLY_PENDING),
    ),
    "end a warm-up / give up the reservation": Pair(
        begin=lambda world: world.warming(claimed=True),
        first=finish_warmup,
        second=lambda seen: lambda tx: waiting.give_up_reservation(tx, seen.run, seen.slot),
        in_order=Came(first=True, second=True, status=S.APPLY_PENDING),
        reversed=Came(first=False, second=True, status=S.APPLY_PENDING),
    ),
    "fail a warm-up / confirm": Pair(
        begin=lambda world: world.warming(claimed=True),
        first=fail_warmup,
        second=confirm,
        **both(S.CONFIRMED, S.APPLY_QUEUED),
    ),
    "fail a warm-up / cancel": Pair(
        begin=lambda world: world.warming(claimed=True),
        first=fail_warmup,
        second=cancel,
        in_order=Came(first=True, second=True, status=S.CANCELLED),
        reversed=Came(first=False, second=True, status=S.CANCELLED),
    ),
    "confirm / expire the warm-up": Pair(
        begin=lambda world: world.ready(),
        first=confirm,
        second=expire_warmup,
        second_is_late=True,
        in_order=Came(first=True, second=False, status=S.APPLY_QUEUED),
        reversed=Came(first=True, second=True, status=S.CONFIRMED),
    ),
    "confirm / confirm": Pair(
        begin=lambda world: world.at(S.APPLY_PENDING),
        first=confirm,
        second=confirm,
        **only(S.APPLY_QUEUED, S.APPLY_QUEUED),
    ),
    "confirm / discard": Pair(
        begin=lambda world: world.at(S.APPLY_PENDING),
        first=confirm,
        second=lambda seen: lambda tx: waiting.discard(tx, seen.run, by="eve"),
        **only(S.APPLY_QUEUED, S.DISCARDED),
    ),
    "confirm / expire": Pair(
        begin=lambda world: world.at(S.APPLY_PENDING),
        first=confirm,
        second=lambda seen: lambda tx: waiting.expire(tx, seen.run),
        second_is_late=True,
        **only(S.APPLY_QUEUED, S.DISCARDED),
    ),
    "confirm / give up the reservation": Pair(
        begin=lambda world: world.at(S.APPLY_PENDING),
        first=confirm,
        second=lambda seen: lambda tx: waiting.give_up_reservation(tx, seen.run, seen.slot),
        in_order=Came(first=True, second=False, status=S.APPLY_QUEUED),
        reversed=Came(first=True, second=True, status=S.CONFIRMED),
    ),
    "claim / claim": Pair(
        begin=lambda world: world.at(S.PLAN_QUEUED),
        first=claim,
        second=claim,
        **only(S.PLANNING, S.PLANNING),
    ),
    "claim / take back": Pair(
        begin=lambda world: world.at(S.APPLY_QUEUED),
        first=claim,
        second=take_back,
        **only(S.APPLYING, S.CONFIRMED),
    ),
    "claim / cancel": Pair(
        begin=lambda world: world.at(S.PLAN_QUEUED),
        first=claim,
        second=cancel,
        **only(S.PLANNING, S.CANCELLED),
    ),
    "point of no return / request a cancel": Pair(
        begin=lambda world: world.at(S.APPLYING),
        first=point_of_no_return,
        second=lambda seen: lambda tx: waiting.request_cancel(tx, seen.run, by="eve", force=False),
        **only(S.APPLYING, S.APPLYING),
    ),
    "point of no return / lose the lease": Pair(
        begin=lambda world: world.at(S.APPLYING),
        first=point_of_no_return,
        second=lose_lease,
        second_is_late=True,
        in_order=Came(first=True, second=True, status=S.APPLY_INTERRUPTED),
        reversed=Came(first=False, second=True, status=S.CONFIRMED),
    ),
    "renew / lose the lease": Pair(
        begin=lambda world: world.at(S.PLANNING),
        first=lambda seen: lambda tx: owning.renew(tx, seen.world.hold(seen.run), lease_ms=LEASE_MS + 1, stage="init"),
        second=lose_lease,
        second_is_late=True,
        **only(S.PLANNING, S.PENDING),
    ),
    "finish a plan / lose the lease": Pair(
        begin=lambda world: world.at(S.PLANNING),
        first=finish,
        second=lose_lease,
        second_is_late=True,
        **only(S.APPLY_PENDING, S.PENDING),
    ),
    "finish an apply / lose the lease": Pair(
        begin=lambda world: world.with_effects(),
        first=finish,
        second=lose_lease,
        second_is_late=True,
        **only(S.APPLIED, S.APPLY_INTERRUPTED),
    ),
    "drain an idle pod / dispatch": Pair(
        begin=lambda world: world.at(S.PENDING),
        first=drain_if_idle,
        second=dispatch,
        **only(S.PENDING, S.PLAN_QUEUED),
    ),
    "dispatch / forget the pod": Pair(
        begin=silent_for_long,
        first=dispatch,
        second=forget_pods,
        in_order=Came(first=True, second=True, status=S.PLAN_QUEUED),
        reversed=Came(first=False, second=True, status=S.PENDING),
    ),
    "drain / finish a plan": Pair(
        begin=lambda world: world.at(S.PLANNING),
        first=drain,
        second=finish,
        in_order=Came(first=True, second=True, status=S.APPLY_PENDING),
        reversed=Came(first=True, second=True, status=S.APPLY_PENDING),
    ),
    "drain / register": Pair(
        begin=lambda world: world.at(S.PENDING),
        first=drain_if_idle,
        second=register,
        in_order=Came(first=True, second=True, status=S.PENDING),
        reversed=Came(first=True, second=True, status=S.PENDING),
    ),
    "finish a plan / lose the pod": Pair(
        begin=lambda world: world.at(S.PLANNING),
        first=finish,
        second=lose_pod,
        **only(S.APPLY_PENDING, S.PENDING),
    ),
    "point of no return / lose the pod": Pair(
        begin=lambda world: world.at(S.APPLYING),
        first=point_of_no_return,
        second=lose_pod,
        in_order=Came(first=True, second=True, status=S.APPLY_INTERRUPTED),
        reversed=Came(first=False, second=True, status=S.CONFIRMED),
    ),
    "two runs of one workspace": Pair(
        begin=lambda world: world.at(S.PENDING),
        other=lambda world: world.at(S.PENDING),
        first=dispatch,
        second=dispatch_other,
        **only(S.PLAN_QUEUED, S.PENDING),
    ),
    "two runs to one slot": Pair(
        begin=lambda world: world.at(S.PENDING),
        other=lambda world: world.at(S.PENDING, workspace="other"),
        first=dispatch,
        second=dispatch_other,
        **only(S.PLAN_QUEUED, S.PENDING),
    ),
    "lock the workspace / dispatch": Pair(
        begin=lambda world: world.at(S.PENDING),
        first=lambda seen: lambda tx: workspaces.lock(tx, "network", by="eve", reason="x"),
        second=dispatch,
        in_order=Came(first=True, second=False, status=S.PENDING),
        reversed=Came(first=True, second=True, status=S.PLAN_QUEUED),
    ),
    "move the workspace / dispatch": Pair(
        begin=lambda world: world.at(S.PENDING),
        first=move_workspace,
        second=dispatch,
        in_order=Came(first=True, second=False, status=S.PENDING),
        reversed=Came(first=True, second=True, status=S.PLAN_QUEUED),
    ),
    "move the workspace / dispatch what changes nothing": Pair(
        begin=lambda world: world.at(S.PENDING, run_type=RunType.PLAN),
        first=move_workspace,
        second=dispatch,
        in_order=Came(first=True, second=False, status=S.PENDING),
        reversed=Came(first=True, second=True, status=S.PLAN_QUEUED),
    ),
    "freeze / dispatch": Pair(
        begin=lambda world: world.at(S.PENDING),
        first=freeze,
        second=dispatch,
        in_order=Came(first=True, second=False, status=S.PENDING),
        reversed=Came(first=True, second=True, status=S.PLAN_QUEUED),
    ),
    "freeze / dispatch to its own slot": Pair(
        begin=lambda world: world.at(S.CONFIRMED),
        first=freeze,
        second=lambda seen: lambda tx: waiting.dispatch_to_own_slot(tx, seen.run),
        in_order=Came(first=True, second=False, status=S.CONFIRMED),
        reversed=Came(first=True, second=True, status=S.APPLY_QUEUED),
    ),
    "freeze / confirm": Pair(
        begin=lambda world: world.at(S.APPLY_PENDING),
        first=freeze,
        second=confirm,
        in_order=Came(first=True, second=True, status=S.CONFIRMED),
        reversed=Came(first=True, second=True, status=S.APPLY_QUEUED),
    ),
    "freeze / claim a plan": Pair(
        begin=lambda world: world.at(S.PLAN_QUEUED),
        first=freeze,
        second=claim,
        in_order=Came(first=True, second=False, status=S.PLAN_QUEUED),
        reversed=Came(first=True, second=True, status=S.PLANNING),
    ),
    "freeze / claim an apply": Pair(
        begin=lambda world: world.at(S.APPLY_QUEUED),
        first=freeze,
        second=claim,
        in_order=Came(first=True, second=False, status=S.APPLY_QUEUED),
        reversed=Came(first=True, second=True, status=S.APPLYING),
    ),
    "freeze / finish a plan": Pair(
        begin=lambda world: world.at(S.PLANNING, auto_apply=True),
        first=freeze,
        second=finish,
        in_order=Came(first=True, second=True, status=S.CONFIRMED),
        reversed=Came(first=True, second=True, status=S.APPLY_QUEUED),
    ),
    "ask to stop / point of no return": Pair(
        begin=lambda world: world.at(S.APPLYING),
        first=ask_to_stop,
        second=point_of_no_return,
        **only(S.APPLYING, S.APPLYING),
    ),
    "ask to stop / finish a plan": Pair(
        begin=lambda world: world.at(S.PLANNING),
        first=ask_to_stop,
        second=finish,
        in_order=Came(first=True, second=True, status=S.APPLY_PENDING),
        reversed=Came(first=False, second=True, status=S.APPLY_PENDING),
    ),
    "adopt / lose the lease": Pair(
        begin=lambda world: world.with_effects(),
        first=adopt,
        second=lose_lease,
        second_is_late=True,
        in_order=Came(first=True, second=False, status=S.APPLYING),
        reversed=Came(first=True, second=True, status=S.APPLYING),
    ),
    "late report / resolve": Pair(
        begin=lambda world: world.at(S.APPLY_INTERRUPTED),
        first=late_report,
        second=resolve,
        **only(S.APPLIED, S.FAILED),
    ),
    "adopt / resolve": Pair(
        begin=lambda world: world.at(S.APPLY_INTERRUPTED),
        first=adopt,
        second=resolve,
        **only(S.APPLYING, S.FAILED),
    ),
    "take back / cancel": Pair(
        begin=lambda world: world.at(S.PLAN_QUEUED),
        first=take_back,
        second=cancel,
        **only(S.PENDING, S.CANCELLED),
    ),
}
