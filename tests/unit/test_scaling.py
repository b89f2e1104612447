import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iacq.domain import pod_failures, scaling
from iacq.domain.pod_failures import PodFailures
from iacq.domain.pool import Demand, PoolPod, PoolPolicy
from iacq.domain.scaling import Scaling
from iacq.domain.slot import Closed, PodStatus, Slot, SlotStatus
from tests import samples

NOW = 10_000_000
MINUTE = 60_000
POLICY = PoolPolicy(max_pods=10)


def pod(name: str, held: str = "", *, status: PodStatus = PodStatus.ONLINE, ago: int = 60 * MINUTE) -> PoolPod:
    """Make a pod whose last change was so long ago. held: a letter for each slot, as `_slot` reads them."""
    slots = [_slot(name, number, letter, NOW - ago) for number, letter in enumerate(held or "iii", 1)]
    return PoolPod(name=name, status=status, slots=tuple(slots), created_at=NOW - ago)


def starting(name: str) -> PoolPod:
    return PoolPod(name=name, status=PodStatus.STARTING, slots=(), created_at=NOW)


def _slot(name: str, number: int, letter: str, at: int) -> Slot:
    """i: idle; r: running; R: reserved; x, X: idle or running, and it does not answer; s: about to open."""
    status = {"r": SlotStatus.RUNNING, "R": SlotStatus.RESERVED, "X": SlotStatus.RUNNING}.get(letter, SlotStatus.IDLE)
    run_id = None if status is SlotStatus.IDLE else int(f"{sum(map(ord, name))}{number}")
    closed = {"x": Closed.NOT_ANSWERING, "X": Closed.NOT_ANSWERING, "s": Closed.STARTING}.get(letter)
    return samples.slot(name, number, status=status, run_id=run_id, closed=closed, updated_at=at)


def decide(demand: Demand, pods: Sequence[PoolPod] = (), policy: PoolPolicy = POLICY, **given_: Any) -> Scaling:
    known: dict[str, Any] = {"frozen": False, "failures": pod_failures.NONE, "now": NOW}
    return scaling.decide_scaling(policy, demand, pods, **{**known, **given_})


# strategies

policies = st.builds(
    lambda least, more, **numbers: PoolPolicy(min_pods=least, max_pods=least + more, **numbers),
    st.integers(0, 4),
    st.integers(0, 6),
    slots_per_pod=st.integers(1, 5),
    headroom=st.integers(0, 4),
    idle_grace_ms=st.integers(0, 20 * MINUTE),
)
demands = st.builds(
    Demand,
    startable=st.integers(0, 12),
    confirmed=st.integers(0, 5),
    running=st.integers(0, 12),
    interrupted=st.integers(0, 3),
    apply_pending=st.integers(0, 12),
)
some_slots = st.text("iiirRxXs", min_size=1, max_size=5)
ages = st.integers(0, 40 * MINUTE)


@st.composite
def fleets(draw: st.DrawFn) -> list[PoolPod]:
    found = []
    for number in range(draw(st.integers(0, 8))):
        status = draw(st.sampled_from(PodStatus))
        name = f"pod-{number}"
        if status is PodStatus.STARTING:
            found.append(starting(name))
        else:
            found.append(pod(name, draw(some_slots), status=status, ago=draw(ages)))
    return found


def serving(pods: Sequence[PoolPod], policy: PoolPolicy) -> list[int]:
    """Slots of each pod that is capacity, counted in another way than the product does."""
    counts = []
    for one in pods:
        if one.status is PodStatus.STARTING:
            counts.append(policy.slots_per_pod)
        elif one.status is PodStatus.ONLINE:
            silent = [slot for slot in one.slots if slot.run_id is None and slot.closed is Closed.NOT_ANSWERING]
            counts.append(len(one.slots) - len(silent))
    return [count for count in counts if count]


def carried_out(pods: Sequence[PoolPod], decided: Scaling) -> list[PoolPod]:
    """Return the pods when what was decided has begun."""
    left = [replace(one, status=PodStatus.DRAINING) if one.name in decided.drain else one for one in pods]
    return left + [starting(f"new-{number}") for number in range(decided.create)]


# properties


@given(policy=policies, demand=demands, frozen=st.booleans())
def test_the_formula_holds_for_every_mix(policy: PoolPolicy, demand: Demand, frozen: bool) -> None:
    desired = scaling.calculate_desired_pods(policy, demand, frozen=frozen)
    runs = demand.startable + demand.confirmed + demand.running + demand.interrupted + demand.apply_pending
    needed = math.ceil((runs + policy.headroom) / policy.slots_per_pod)
    assert desired.needed == needed
    if frozen:
        assert (desired.pods, desired.limit) == (0, "frozen")
        return
    assert desired.pods == sorted((policy.min_pods, needed, policy.max_pods))[1]
    assert desired.limit == ("min" if needed < policy.min_pods else "max" if needed > policy.max_pods else None)


@given(policy=policies, demand=demands, pods=fleets(), frozen=st.booleans())
def test_no_pod_goes_that_holds_anything_or_is_within_its_grace(
    policy: PoolPolicy, demand: Demand, pods: list[PoolPod], frozen: bool
) -> None:
    """Failures 20 and 25."""
    going = [one for one in pods if one.name in decide(demand, pods, policy, frozen=frozen).drain]
    for one in going:
        assert not any(slot.run_id for slot in one.slots)
        assert frozen or one.status is PodStatus.ONLINE
        assert frozen or all(slot.updated_at + policy.idle_grace_ms <= NOW for slot in one.slots)


@given(policy=policies, demand=demands, pods=fleets())
def test_the_limits_are_kept_and_what_is_needed_is_kept_or_started(
    policy: PoolPolicy, demand: Demand, pods: list[PoolPod]
) -> None:
    decided = decide(demand, pods, policy)
    before, after = serving(pods, policy), serving(carried_out(pods, decided), policy)
    existing = sum(one.status is not PodStatus.OFFLINE for one in pods)
    assert existing + decided.create <= max(existing, policy.max_pods)
    assert len(after) >= min(policy.min_pods, len(before))
    needed = demand.slots + policy.headroom - decided.capacity.elsewhere
    full = existing + decided.create >= policy.max_pods
    assert full or (sum(after) >= needed and len(after) >= policy.min_pods)
    if sum(after) < sum(before):
        assert sum(after) >= needed or len(before) > policy.max_pods


@given(policy=policies, demand=demands, pods=fleets(), frozen=st.booleans())
def test_asked_again_it_wants_nothing_more(
    policy: PoolPolicy, demand: Demand, pods: list[PoolPod], frozen: bool
) -> None:
    """Failure 20: what was scaled up was scaled down at once. Only a pod that is smaller than new ones may go then."""
    decided = decide(demand, pods, policy, frozen=frozen)
    then = carried_out(pods, decided)
    again = decide(demand, then, policy, frozen=frozen)
    assert again.create == 0
    assert again.desired == decided.desired
    assert not again.drain or decided.create
    assert all(one.of_use < policy.slots_per_pod for one in then if one.name in again.drain)
    at_last = decide(demand, carried_out(then, again), policy, frozen=frozen)
    assert (at_last.create, at_last.drain) == (0, ())


@given(policy=policies, demand=demands, pods=fleets())
def test_frozen_nothing_starts_and_all_idle_pods_go(policy: PoolPolicy, demand: Demand, pods: list[PoolPod]) -> None:
    decided = decide(demand, pods, policy, frozen=True)
    assert (decided.desired.pods, decided.create, decided.give_up) == (0, 0, 0)
    left = [one for one in carried_out(pods, decided) if one.status in (PodStatus.STARTING, PodStatus.ONLINE)]
    assert all(one.held for one in left)


@given(policy=policies, demand=demands, pods=fleets(), ago=st.integers(0, 10 * MINUTE), count=st.integers(1, 12))
def test_after_failures_pods_start_one_at_a_time_and_not_too_soon(
    policy: PoolPolicy, demand: Demand, pods: list[PoolPod], ago: int, count: int
) -> None:
    failures = PodFailures(count=count, last_at=NOW - ago)
    decided = decide(demand, pods, policy, failures=failures)
    retry_at = pod_failures.retry_at(failures)
    assert retry_at is not None
    unhindered = decide(demand, pods, policy)
    calm = retry_at <= NOW and not any(one.status is PodStatus.STARTING for one in pods)
    assert decided.create == (min(1, unhindered.create) if calm else 0)
    assert decided.drain == unhindered.drain
    assert decided.retry_at == (retry_at if unhindered.create and retry_at > NOW else None)


@given(policy=policies, demand=demands, pods=fleets())
def test_reservations_are_given_up_only_for_work_that_nothing_else_makes_room_for(
    policy: PoolPolicy, demand: Demand, pods: list[PoolPod]
) -> None:
    decided = decide(demand, pods, policy)
    assert 0 <= decided.give_up <= min(demand.queue_depth, demand.apply_pending)
    if decided.give_up:
        assert decided.create == 0
        assert sum(one.status is not PodStatus.OFFLINE for one in pods) >= policy.max_pods
        assert decided.capacity.free + decided.give_up <= demand.queue_depth


# cases


def test_from_nothing_it_starts_at_once() -> None:
    """Failure 18."""
    assert decide(Demand(startable=1)).create == 1
    assert decide(Demand(confirmed=4)).create == 2
    assert decide(Demand(apply_pending=1)).create == 1  # lost its slot: to be prepared in another one
    assert decide(Demand()).create == 0
    assert decide(Demand(), policy=PoolPolicy(min_pods=2, max_pods=3)).create == 2
    assert decide(Demand(), policy=PoolPolicy(max_pods=3, headroom=1)).create == 1


def test_slots_per_pod_are_those_of_the_pool_and_of_each_pod() -> None:
    """Failure 22."""
    five = PoolPolicy(max_pods=10, slots_per_pod=5)
    assert decide(Demand(startable=11), policy=five).create == 3
    assert decide(Demand(startable=11), [pod("old", "iii")], five).create == 2
    assert decide(Demand(startable=13), [pod("old", "iii")], five).create == 2
    assert decide(Demand(startable=14), [pod("old", "iii")], five).create == 3


def test_pods_that_are_starting_are_waited_for() -> None:
    """Failure 20."""
    assert decide(Demand(startable=3), [starting("a")]).create == 0
    assert decide(Demand(startable=4), [starting("a")]).create == 1
    assert decide(Demand(startable=3), [pod("a", "sss", ago=0)]).create == 0


@pytest.mark.parametrize(
    ("there", "demand", "created"),
    [
        (pod("a", "iii", status=PodStatus.OFFLINE), Demand(startable=1), 1),
        (pod("a", "iii", status=PodStatus.DRAINING), Demand(startable=1), 1),
        (pod("a", "xxx"), Demand(startable=1), 1),
        (pod("a", "rxi"), Demand(running=1, startable=2), 1),
        (pod("a", "Xii"), Demand(running=1, startable=2), 0),
        # what is held in a pod that is going needs no other place
        (pod("a", "rii", status=PodStatus.DRAINING), Demand(running=1), 0),
        (pod("a", "rii", status=PodStatus.DRAINING), Demand(running=1, startable=1), 1),
        # of a silent pod only an interrupted apply: the rest will be looking for another one
        (pod("a", "rii", status=PodStatus.OFFLINE), Demand(running=1), 1),
        (pod("a", "rii", status=PodStatus.OFFLINE), Demand(interrupted=1), 0),
    ],
)
def test_what_is_no_capacity_is_replaced_when_it_is_needed(there: PoolPod, demand: Demand, created: int) -> None:
    assert decide(demand, [there]).create == created


def test_offline_pods_do_not_count_against_the_maximum_and_draining_ones_do() -> None:
    one = PoolPolicy(max_pods=1)
    assert decide(Demand(startable=1), [pod("a", status=PodStatus.OFFLINE)], one).create == 1
    assert decide(Demand(startable=1), [pod("a", status=PodStatus.DRAINING)], one).create == 0


def test_idle_pods_go_after_the_grace_the_least_useful_first() -> None:
    grace = POLICY.idle_grace_ms
    fresh, old, older = pod("fresh", ago=grace - 1), pod("old", ago=grace), pod("older", ago=grace + 1)
    silent = pod("silent", "xxi", ago=grace)
    assert decide(Demand(), [fresh, old, older, silent]).drain == ("silent", "older", "old")
    assert decide(Demand(startable=6), [fresh, old, older, silent]).drain == ("silent", "older")
    assert decide(Demand(startable=7), [fresh, old, older, silent]).drain == ("silent",)
    assert decide(Demand(startable=10), [fresh, old, older, silent]).drain == ()


def test_a_reserved_a_running_and_an_interrupted_slot_keep_their_pod() -> None:
    """Failure 17, 25."""
    pods = [pod("a", "Rii"), pod("b", "rii"), pod("c", "iir"), pod("d", "iii")]
    assert decide(Demand(apply_pending=1, running=1, interrupted=1), pods).drain == ("d",)


def test_the_minimum_stays() -> None:
    pods = [pod("a"), pod("b"), pod("c"), pod("silent", "xxx")]
    assert decide(Demand(), pods, PoolPolicy(min_pods=2, max_pods=5)).drain == ("silent", "a")


def test_a_lowered_maximum_takes_idle_pods_only() -> None:
    pods = [pod("a", "rrr"), pod("b", "rrr"), pod("c"), pod("d")]
    decided = decide(Demand(running=6, startable=6), pods, PoolPolicy(max_pods=3))
    assert decided.drain == ("c",)
    assert decided.create == 0


def test_reservations_make_room_at_the_maximum() -> None:
    """Failure 25: pods were kept without limit for runs that waited for a person."""
    two = PoolPolicy(max_pods=2)
    full = [pod("a", "RRR"), pod("b", "RRr")]
    assert decide(Demand(apply_pending=5, running=1, startable=2), full, two).give_up == 2
    assert decide(Demand(apply_pending=5, running=1, startable=9), full, two).give_up == 5
    assert decide(Demand(apply_pending=5, running=1), full, two).give_up == 0
    assert decide(Demand(apply_pending=5, running=1, startable=2), full).give_up == 0
    coming = [pod("a", "RRR"), starting("b")]
    assert decide(Demand(apply_pending=3, startable=3), coming, two).give_up == 0
