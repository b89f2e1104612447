"""Which pods of an older generation go next."""

import dataclasses

import pytest

from iacq.domain.pool import Pool, PoolPod, PoolPolicy
from iacq.domain.rolling import Roll, decide_roll
from iacq.domain.slot import PodStatus, SlotStatus
from tests import samples

POOL = Pool(name="default", policy=PoolPolicy(max_pods=4), generation=2)


def pod(name: str, *, old: bool = True, status: PodStatus = PodStatus.ONLINE, held: str = "") -> PoolPod:
    """held: a letter a slot, r for running and w for one that waits for its confirmation."""
    statuses = {"r": SlotStatus.RUNNING, "w": SlotStatus.RESERVED}
    slots = tuple(
        samples.slot(name, number, run_id=number, status=statuses[letter]) for number, letter in enumerate(held, 1)
    )
    return PoolPod(name=name, status=status, slots=slots, created_at=0, generation=1 if old else 2)


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([], Roll()),
        ([pod("a", old=False)], Roll()),
        ([pod("a"), pod("b")], Roll(drain=("a",))),
        ([pod("a", held="r"), pod("b", held="w"), pod("c")], Roll(drain=("c",))),
        ([pod("a", held="r"), pod("b", held="w")], Roll(drain=("b",))),
        ([pod("a", held="rw")], Roll(drain=("a",))),
        ([pod("a"), pod("b", status=PodStatus.DRAINING)], Roll()),
        ([pod("a"), pod("b", status=PodStatus.DELETING)], Roll()),
        ([pod("a"), pod("b", old=False, status=PodStatus.STARTING)], Roll()),
        ([pod("a", status=PodStatus.STARTING), pod("b", held="r")], Roll(drain=("a",))),
        ([pod("a", status=PodStatus.OFFLINE)], Roll()),
        ([dataclasses.replace(pod("a"), generation=None)], Roll()),
    ],
)
def test_idle_ones_first_and_one_at_a_time(pods: list[PoolPod], expected: Roll) -> None:
    assert decide_roll(POOL, pods) == expected


def test_a_full_pool_gets_one_more_before_a_busy_pod_closes() -> None:
    busy = [pod(name, held="r") for name in "abcd"]
    assert decide_roll(POOL, busy) == Roll(create=True)
    assert decide_roll(POOL, [*busy, pod("new", old=False, status=PodStatus.STARTING)]) == Roll()
    assert decide_roll(POOL, [*busy, pod("new", old=False)]) == Roll(drain=("a",))


def test_of_many_a_quarter_goes_at_a_time() -> None:
    pods = [pod(f"pod{number:02}") for number in range(12)]
    assert decide_roll(POOL, pods) == Roll(drain=("pod00", "pod01", "pod02"))


def test_it_ends_with_every_pod_replaced_and_never_more_than_one_beyond_the_maximum() -> None:
    """Played through: what is drained goes when it is idle, what is missing is started."""
    pods = [pod(name, held="r") for name in "abcd"]
    made = 0
    for turn in range(100):
        roll = decide_roll(POOL, pods)
        if roll == Roll() and all(one.generation == 2 and one.status is PodStatus.ONLINE for one in pods):
            return
        missing = roll.create or sum(one.status is not PodStatus.OFFLINE for one in pods) < POOL.policy.max_pods
        pods = [
            dataclasses.replace(one, status=PodStatus.DRAINING if one.name in roll.drain else one.status)
            for one in pods
            if one.status is not PodStatus.DRAINING
        ]
        pods = [dataclasses.replace(one, status=PodStatus.ONLINE) if one.status == "starting" else one for one in pods]
        if missing:
            made += 1
            pods.append(pod(f"new{made}", old=False, status=PodStatus.STARTING))
        assert len(pods) <= POOL.policy.max_pods + 1
        assert sum(one.status is PodStatus.ONLINE for one in pods) >= POOL.policy.max_pods - 1, turn
    pytest.fail(f"it does not end: {pods}")
