"""Pools: what is stored, what is refused, and what then stays as it was."""

from typing import Any

import pytest

from iacq.domain.pool import PoolPolicy
from iacq.domain.slot import PodStatus
from iacq.errors import Conflict, IacqError, InvalidInput, NotFound
from iacq.messages import RECONCILE_PODS
from iacq.services import pools
from iacq.services.core import Core
from iacq.services.pools import PoolChange
from iacq.testing.dispatcher import RecordingDispatcher
from tests.store.world import World


def test_a_pool_says_what_was_given_and_defaults(world: World, core: Core) -> None:
    made = pools.create(core, "build", PoolChange(max_pods=5, template={"environment": {"REGION": "eu"}}))
    assert made.pool.policy == PoolPolicy(max_pods=5, idle_grace_ms=300_000)
    assert (made.pool.generation, made.pool.template) == (1, {"environment": {"REGION": "eu"}})
    assert pools.create(core, "small", PoolChange(min_pods=2)).pool.policy.max_pods == 2
    assert [shown.pool.name for shown in pools.listed(core)] == ["build", "small"]
    world.pod(pool="build")
    assert pools.show(core, "build").pods == {PodStatus.ONLINE: 1}


def test_a_change_keeps_the_rest_and_is_acted_on_at_once(world: World, core: Core) -> None:
    pools.create(core, "build", PoolChange(max_pods=5, headroom=2))
    changed = pools.update(core, "build", PoolChange(max_pods=7)).pool
    assert changed.policy == PoolPolicy(max_pods=7, headroom=2)
    assert changed.generation == 1
    assert isinstance(core.dispatcher, RecordingDispatcher)
    assert core.dispatcher.rung[-1].task == RECONCILE_PODS


@pytest.mark.parametrize(
    ("given", "generation"),
    [
        (PoolChange(template={"environment": {"A": "2"}}), 2),
        (PoolChange(template={"environment": {"A": "1"}}), 1),
        (PoolChange(template={}), 2),
        (PoolChange(slots_per_pod=1), 2),
        (PoolChange(max_pods=9, idle_grace_ms=0), 1),
    ],
)
def test_pods_are_replaced_if_new_ones_would_differ(core: Core, given: PoolChange, generation: int) -> None:
    pools.create(core, "build", PoolChange(template={"environment": {"A": "1"}}))
    assert pools.update(core, "build", given).pool.generation == generation
    assert pools.roll(core, "build").pool.generation == generation + 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"min_pods": 3, "max_pods": 2}, "--min"),
        ({"min_pods": -1}, "--min"),
        ({"slots_per_pod": 0}, "--slots"),
        ({"headroom": -1}, "--headroom"),
        ({"max_pods": 2**40}, "--max"),
        ({"idle_grace_ms": 10**15}, "--idle-grace"),
        ({"template": {"image": "x"}}, "--template"),
        ({"template": ["x"]}, "--template"),
        ({"template": {"environment": {"A": 1}}}, "--template A"),
        ({"template": {"environment": {"A=B": "x"}}}, "--template"),
        ({"template": {"environment": {"POD_NAME": "x"}}}, "--template"),
        ({"template": {"environment": {"IACQ_ENCRYPTION_KEYS": "x"}}}, "--template"),
        ({"template": {"environment": {"IACQ_DATABASE_URL": "x"}}}, "--template"),
    ],
)
def test_what_makes_no_pool_is_refused_and_changes_nothing(
    world: World, core: Core, given: dict[str, Any], field: str
) -> None:
    pools.create(core, "build", PoolChange(max_pods=1))
    before = world.rows()
    for act in (pools.update, lambda core, _, change: pools.create(core, "other", change)):
        with pytest.raises(InvalidInput) as refused:
            act(core, "build", PoolChange(**given))
        assert refused.value.field == field
    assert world.rows() == before


def test_names(world: World, core: Core) -> None:
    pools.create(core, "build", PoolChange())
    before = world.rows()
    refused: list[tuple[type[IacqError], Any]] = [
        (Conflict, lambda: pools.create(core, "build", PoolChange(max_pods=9))),
        (InvalidInput, lambda: pools.create(core, "a/b", PoolChange())),
        (NotFound, lambda: pools.show(core, "nowhere")),
        (NotFound, lambda: pools.update(core, "nowhere", PoolChange())),
        (NotFound, lambda: pools.roll(core, "nowhere")),
        (NotFound, lambda: pools.delete(core, "nowhere")),
    ]
    for kind, act in refused:
        with pytest.raises(kind):
            act()
    assert world.rows() == before


def test_a_pool_is_deleted_when_nothing_belongs_to_it(world: World, core: Core) -> None:
    for name in ("of-workspace", "of-run", "of-pod", "empty"):
        pools.create(core, name, PoolChange())
    world.workspace("network", pool="of-workspace")
    run = world.enqueue("other", pool="of-run")
    world.pod("pod9", pool="of-pod")
    before = world.rows()
    for name, what in (("of-workspace", "network"), ("of-run", str(run.id)), ("of-pod", "pod9")):
        with pytest.raises(Conflict, match=what):
            pools.delete(core, name)
    assert world.rows() == before
    pools.delete(core, "empty")
    assert "empty" not in [shown.pool.name for shown in pools.listed(core)]
