import dataclasses

import pytest
from sqlalchemy.exc import IntegrityError

from iacq.domain.run import RunType, Status
from iacq.errors import Conflict, NotFound
from iacq.services import enqueuing
from iacq.services.core import Core
from iacq.services.enqueuing import Request
from iacq.store import workspaces
from iacq.store.protocol import waiting
from tests import samples
from tests.store.world import World

UNENDED = [Status.PENDING, Status.APPLY_PENDING, Status.APPLY_INTERRUPTED]


def test_what_is_stored_comes_back(world: World) -> None:
    given = samples.workspace(
        "a",
        variables={"x": [1, {"y": None}]},
        var_files=("/v.tfvars",),
        environment={"A": "b"},
        secret_names=("s",),
        secret_environment=("E",),
        terraform_version="1.5.7",
        plan_expires=5,
    )
    world.do(workspaces.insert, given, secrets=b"\x00\xff")
    found = world.database.read(workspaces.get, "a")
    assert dataclasses.replace(found, created_at=0, updated_at=0) == given
    assert bytes(world.database.read(workspaces.secrets_of, "a") or b"") == b"\x00\xff"
    assert found.created_at == world.clock.now_ms()
    world.clock.advance(1)
    changed = world.do(workspaces.update, dataclasses.replace(given, pool="p2"), secrets=None)
    assert (changed.pool, changed.updated_at - changed.created_at) == ("p2", 1000)
    assert world.database.read(workspaces.secrets_of, "a") is None


def test_one_source_of_any_kind_is_stored(world: World) -> None:
    given = samples.workspace("g", path=None, git="https://host/x", ref="v1", subdir="a/b")
    assert world.do(workspaces.insert, given, secrets=None).source == given.source
    archive = samples.workspace("g", path=None, archive="/srv/x.zip")
    assert world.do(workspaces.update, archive, secrets=None).source == archive.source
    for broken in (samples.workspace("h", path=None), samples.workspace("h", git="https://host/x")):
        with pytest.raises(IntegrityError):
            world.do(workspaces.insert, broken, secrets=None)


def test_a_name_is_taken_once(world: World) -> None:
    world.workspace()
    with pytest.raises(Conflict):
        world.do(workspaces.insert, samples.workspace(), secrets=None)


@pytest.mark.parametrize("name", ["nowhere", "x" * 200, "a\nb"])
def test_not_found_shows_the_name_safely(world: World, name: str) -> None:
    with pytest.raises(NotFound) as caught:
        world.database.read(workspaces.get, name)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 120


def test_a_lock_has_one_holder_and_a_reason(world: World) -> None:
    world.workspace()
    world.do(workspaces.lock, "network", by="eve", reason="migration")
    with pytest.raises(Conflict, match="eve: migration"):
        world.do(workspaces.lock, "network", by="bob", reason="x")
    assert world.do(workspaces.unlock, "network").locked_at is None
    assert world.do(workspaces.unlock, "network").locked_by is None
    with pytest.raises(NotFound):
        world.do(workspaces.lock, "nowhere", by="eve", reason="x")


@pytest.mark.parametrize("status", UNENDED)
def test_not_deleted_with_runs_that_have_not_ended(world: World, status: Status) -> None:
    world.pod()
    run = world.at(status)
    with pytest.raises(Conflict, match=str(run.id)):
        world.do(workspaces.delete, "network", force=True)
    assert world.database.read(workspaces.find, "network") is not None


def test_ended_runs_and_rows_of_somebody_else_hold_nothing(world: World) -> None:
    run = world.enqueue()
    world.set_run(run.id, status=Status.CANCELLED, cancel_requested_ms=1)
    world.do(workspaces.delete, "network", force=False)
    assert world.run(run.id).status is Status.CANCELLED
    with pytest.raises(NotFound):
        world.do(workspaces.delete, "network", force=False)


def test_the_keys_of_a_deleted_workspace_are_free_again(world: World, core: Core) -> None:
    asked = Request(workspace="network", run_type=RunType.PLAN, by="alice", idempotency_key="deploy-42")
    world.workspace()
    other = world.enqueue("other", idempotency_key="deploy-42")
    old = enqueuing.enqueue(core, asked)
    world.do(waiting.cancel, old, by="alice")
    assert enqueuing.enqueue(core, asked).id == old.id
    world.do(workspaces.delete, "network", force=False)
    world.workspace()
    new = enqueuing.enqueue(core, asked)
    assert new.id != old.id
    assert new.status is Status.PENDING
    assert world.run(other.id).idempotency_key == "deploy-42"
