"""A pod that dies, in each state of its slots: what waits goes elsewhere, what ran is judged by its lease.

Silence proves nothing. What may be alive keeps its slot until somebody knows better, and a pod that comes back works
again once nothing of before is left in it.
"""

import dataclasses
from collections.abc import Callable

import pytest

from iacq.domain.run import Run, Status
from iacq.domain.slot import Closed, SlotStatus
from iacq.domain.transitions import Cause
from iacq.services import agents, dispatching, recovering
from iacq.services.core import Core
from iacq.services.recovering import LeaseWatch
from iacq.store import pods, runs, slots
from iacq.store.pods import Registration
from iacq.store.protocol import recovering as steps
from tests.store.world import POD, World

S = Status


@dataclasses.dataclass(frozen=True, kw_only=True)
class Death:
    """What becomes of a run whose pod dies."""

    make: Callable[[World], Run]
    silent: Status  # once its agent counts as offline
    held: bool  # whether its slot is still the run's then
    expired: Status  # once its lease was seen expired twice
    elsewhere: Status | None  # in another pod; None: it does not go there


DEATHS = {
    "a queued plan": Death(
        make=lambda world: world.at(S.PLAN_QUEUED),
        silent=S.PENDING,
        held=False,
        expired=S.PENDING,
        elsewhere=S.PLAN_QUEUED,
    ),
    "planning": Death(
        make=lambda world: world.at(S.PLANNING),
        silent=S.PLANNING,
        held=True,
        expired=S.PENDING,
        elsewhere=S.PLAN_QUEUED,
    ),
    "reserved": Death(
        make=lambda world: world.at(S.APPLY_PENDING),
        silent=S.APPLY_PENDING,
        held=False,
        expired=S.APPLY_PENDING,
        elsewhere=None,
    ),
    "confirmed and reserved": Death(
        make=lambda world: world.at(S.CONFIRMED),
        silent=S.CONFIRMED,
        held=False,
        expired=S.CONFIRMED,
        elsewhere=S.APPLY_QUEUED,
    ),
    "a queued apply": Death(
        make=lambda world: world.at(S.APPLY_QUEUED),
        silent=S.CONFIRMED,
        held=False,
        expired=S.CONFIRMED,
        elsewhere=S.APPLY_QUEUED,
    ),
    "applying before the point of no return": Death(
        make=lambda world: world.at(S.APPLYING),
        silent=S.APPLYING,
        held=True,
        expired=S.CONFIRMED,
        elsewhere=S.APPLY_QUEUED,
    ),
    "applying after the point of no return": Death(
        make=lambda world: world.with_effects(),
        silent=S.APPLYING,
        held=True,
        expired=S.APPLY_INTERRUPTED,
        elsewhere=None,
    ),
}


def _expire_leases(world: World, core: Core, watch: LeaseWatch) -> None:
    world.clock.advance(core.settings.lease + 1)
    recovering.recover(core, watch)
    world.clock.advance(core.settings.lease_confirm)
    recovering.recover(core, watch)


@pytest.mark.parametrize("name", DEATHS)
def test_a_pod_dies(world: World, core: Core, name: str) -> None:
    """docs/failures.md 9, 14, 17, 21, 26."""
    death, watch = DEATHS[name], LeaseWatch()
    world.pod()
    run = death.make(world)
    world.clock.advance(core.settings.agent_offline - 1)
    recovering.check_agents(core)
    assert world.run(run.id).status is run.status, "it is not silent for long enough"
    world.clock.advance(2)
    recovering.check_agents(core)
    world.check()
    assert world.run(run.id).status is death.silent
    assert (world.slot(1).run_id == run.id) is death.held
    assert [world.slot(number).closed for number in (1, 2)] == [Closed.OFFLINE] * 2, "nothing new goes there"

    world.pod("pod2")
    assert dispatching.dispatch(core) == (death.elsewhere is not None and not death.held)
    _expire_leases(world, core, watch)
    dispatching.dispatch(core)
    world.check()
    found = world.run(run.id)
    assert found.status is (death.elsewhere or death.expired)
    held = world.database.read(slots.held_by, run.id)
    where = held.pod_name if held else None
    assert where == {S.APPLY_INTERRUPTED: POD, S.APPLY_PENDING: None}.get(found.status, "pod2")
    tries = 1 if name in ("planning", "applying before the point of no return") else 0
    assert found.status is S.APPLY_INTERRUPTED or found.tries == tries, "being queued is no try"


@pytest.mark.parametrize("name", DEATHS)
def test_it_comes_back_and_works_again(world: World, core: Core, name: str) -> None:
    death, watch = DEATHS[name], LeaseWatch()
    world.pod()
    run = death.make(world)
    world.clock.advance(core.settings.agent_offline + 1)
    recovering.check_agents(core)
    _expire_leases(world, core, watch)
    new = Registration(pod_name=POD, agent_id="pod1-boot2", pool="default", slots=2)
    agents.register(core, new)
    assert world.do(pods.is_registered, POD, new.agent_id)
    assert [world.slot(number).closed for number in (1, 2)] == [Closed.STARTING] * 2, (
        "each proves first that it is clear"
    )
    assert not world.do(slots.open_again, world.place(1)), "one of the boot before opens nothing"
    interrupted = death.expired is S.APPLY_INTERRUPTED
    assert (world.slot(1).run_id == run.id) is interrupted
    if interrupted:
        world.do(steps.prove_end, run.id, run.effects_fence)
    for number in (1, 2):
        assert world.do(slots.open_again, world.place(number, agent_id=new.agent_id))
    assert {world.slot(number).status for number in (1, 2)} == {SlotStatus.IDLE}
    assert dispatching.dispatch(core) == (death.elsewhere is not None)
    assert world.run(run.id).status is (death.elsewhere or death.expired)
    assert Cause.ADOPTED not in [event.cause for event in world.do(runs.events_of, run.id)]
    world.check()


def test_a_silent_pod_that_is_heard_again_in_time_loses_nothing(world: World, core: Core) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    world.clock.advance(core.settings.agent_offline - 1)
    world.do(pods.beat, POD, "pod1-boot1")
    world.clock.advance(core.settings.agent_offline - 1)
    assert recovering.check_agents(core) == 0
    assert world.slot(1).run_id == run.id
