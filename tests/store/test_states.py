import pytest
from sqlalchemy.exc import IntegrityError

from iacq.domain.run import Run, Status
from iacq.errors import Conflict
from iacq.services import states as service
from iacq.store import states, workspaces
from iacq.store.session import Raced
from iacq.store.states import NewState
from tests.store.world import World, at_once


def state(serial: int, lineage: str = "a", content: str = "") -> NewState:
    return NewState(
        lineage=lineage,
        serial=serial,
        sha256=content or f"{lineage}-{serial}",
        size=1,
        resources=2,
        sealed=f"{lineage}-{serial}".encode(),
    )


def add(world: World, new: NewState, run: Run | None = None) -> states.StateVersion:
    found: states.StateVersion = world.do(states.add, "network", new, run_id=run.id if run else None)
    return found


def test_versions_count_up(world: World) -> None:
    assert world.database.read(states.current, "network") is None
    versions = [add(world, state(serial)) for serial in (1, 2, 7)]
    assert [version.version for version in versions] == [1, 2, 3]
    assert world.database.read(states.current, "network") == versions[-1]
    assert world.database.read(states.listed, "network") == versions[::-1]
    assert world.database.read(states.sealed, "network", 2) == b"a-2"
    assert world.database.read(states.sealed, "network", 9) is None
    assert world.database.read(states.current, "other") is None


def test_the_same_state_again_is_no_change(world: World) -> None:
    first = add(world, state(4))
    assert add(world, state(4)) == first
    assert len(world.database.read(states.listed, "network")) == 1


@pytest.mark.parametrize("new", [state(4, content="other"), state(3), state(5, lineage="b")])
def test_neither_an_older_serial_nor_another_lineage(world: World, new: NewState) -> None:
    add(world, state(4))
    with pytest.raises(Conflict) as caught:
        add(world, new)
    assert caught.value.code == "state_conflict"
    assert len(world.database.read(states.listed, "network")) == 1


def test_of_two_writers_one_wins(world: World) -> None:
    for number in range(0, 16, 2):
        mine = [state(number + 1, content=f"{number}-{who}") for who in "ab"]
        results = at_once(*[lambda new=new: add(world, new) for new in mine])
        lost = [result for result in results if isinstance(result, Conflict | IntegrityError)]
        assert len(lost) == 1
        current = world.database.read(states.current, "network")
        assert current is not None
        assert current.version == number // 2 + 1


def test_only_the_owner_and_the_process_of_an_interrupted_apply_write(world: World) -> None:
    world.pod()
    run = world.with_effects()

    def save(fence: int, effects: int | None, serial: int) -> None:
        world.do(service.save, "network", state(serial), run_id=run.id, fence=fence, effects_fence=effects)

    with pytest.raises(Raced):
        save(run.fence - 1, run.effects_fence, 1)
    save(run.fence, None, 1)
    lost = world.interrupted(run)
    with pytest.raises(Raced):
        save(run.fence, None, 2)
    with pytest.raises(Raced):
        save(run.fence, run.fence + 1, 2)
    save(run.fence, run.effects_fence, 2)
    assert lost.status is Status.APPLY_INTERRUPTED


def test_the_working_state_lasts_until_a_version_is_added(world: World) -> None:
    world.pod()
    run = world.with_effects()
    for serial in (1, 2):
        world.do(
            service.save_working,
            "network",
            state(serial),
            run_id=run.id,
            fence=run.fence,
            effects_fence=run.effects_fence,
        )
    working = world.database.read(states.working, "network")
    assert working is not None
    assert (working.run_id, working.serial, working.resources) == (run.id, 2, 2)
    with pytest.raises(Raced):
        world.do(service.save_working, "network", state(3), run_id=run.id, fence=run.fence - 1, effects_fence=None)
    add(world, state(2), run)
    assert world.database.read(states.working, "network") is None


def test_a_deleted_workspace_leaves_no_state(world: World) -> None:
    world.workspace()
    add(world, state(1))
    world.do(states.put_working, "network", state(2), run_id=1)
    with pytest.raises(Conflict, match="2 resources"):
        world.do(workspaces.delete, "network", force=False)
    world.do(workspaces.delete, "network", force=True)
    assert world.database.read(states.current, "network") is None
    assert world.database.read(states.working, "network") is None
