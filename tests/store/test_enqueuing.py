import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from iacq.domain.configuration import Configuration
from iacq.domain.run import RunOptions, RunType, Status
from iacq.errors import Conflict, InvalidInput, NotFound
from iacq.ports import SourceFacts
from iacq.services import enqueuing
from iacq.services.core import Core, load_artifact
from iacq.services.enqueuing import Inputs, Request
from iacq.store import runs, states
from iacq.testing.core import make_core
from iacq.testing.source import PACKED, FakeSource, without_backend
from iacq.testing.storage import MemoryArtifacts
from tests.store.world import World

STATE = b'{"version": 4, "serial": 3, "lineage": "l", "resources": [], "outputs": {}, "terraform_version": "1.11.4"}'

LARGE = b"x" * 100_000


def request(**changes: Any) -> Request:
    return Request(**{"workspace": "network", "run_type": RunType.PLAN_AND_APPLY, "by": "alice", **changes})


def test_everything_is_frozen_with_the_run(world: World, core: Core, tmp_path: Path) -> None:
    world.workspace(variables={"region": "eu"}, environment={"A": "1"})
    (tmp_path / "x.tfvars").write_text("size = 3\n")
    asked = request(var_files=(str(tmp_path / "x.tfvars"),), variables={"n": 1}, options=RunOptions(targets=("a.b",)))
    run = enqueuing.enqueue(core, asked)
    (tmp_path / "x.tfvars").write_text("size = 4\n")
    assert load_artifact(core, "network", run.id, "source") == PACKED
    inputs = Inputs.from_json(load_artifact(core, "network", run.id, "inputs"))
    assert [file.text for file in inputs.run_var_files] == ["size = 3\n"]
    assert inputs.workspace_variables == {"region": "eu"}
    assert inputs.options == RunOptions(targets=("a.b",))
    assert Inputs.from_json(inputs.to_json()) == inputs


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"priority": 101}, "--priority"),
        ({"priority": -101}, "--priority"),
        ({"options": RunOptions(parallelism=0)}, "--parallelism"),
        ({"idempotency_key": ""}, "--key"),
        ({"idempotency_key": "k" * 201}, "--key"),
        ({"variables": {"1x": "a"}}, "--var"),
        ({"variables": {"x y": "a"}}, "--var"),
        ({"variables": {"x": object()}}, "--var"),
        ({"var_files": ("/nowhere.tfvars",)}, "--var-file"),
        ({"import_state": True, "ignore_state": True}, "--import-state"),
        ({"workspace": "a b"}, "workspace"),
        ({"workspace": "../x"}, "workspace"),
    ],
)
def test_bad_input_names_the_field_and_changes_nothing(
    world: World, core: Core, changes: dict[str, Any], field: str
) -> None:
    world.workspace()
    before = world.rows()
    with pytest.raises(InvalidInput) as caught:
        enqueuing.enqueue(core, request(**changes))
    assert caught.value.field == field
    assert world.rows() == before


def test_a_workspace_that_is_not_there(core: Core) -> None:
    with pytest.raises(NotFound) as caught:
        enqueuing.enqueue(core, request(workspace="nowhere"))
    assert caught.value.field == "workspace"


def test_one_key_is_one_run(world: World, core: Core) -> None:
    world.workspace()
    first = enqueuing.enqueue(core, request(idempotency_key="k", variables={"n": 1}))
    assert enqueuing.enqueue(core, request(idempotency_key="k", variables={"n": 1}, by="bob")).id == first.id
    with pytest.raises(Conflict) as caught:
        enqueuing.enqueue(core, request(idempotency_key="k", variables={"n": 2}))
    assert caught.value.field == "--key"
    assert str(first.id) in caught.value.message
    world.workspace("other")
    assert enqueuing.enqueue(core, request(workspace="other", idempotency_key="k")).id != first.id


def test_a_key_of_somebody_else_is_free(world: World, core: Core) -> None:
    world.workspace()
    assert enqueuing.enqueue(core, request(idempotency_key="deploy-1")).idempotency_key == "deploy-1"


@pytest.mark.parametrize(
    ("policy", "asked", "run_type", "expected"),
    [
        (True, None, RunType.PLAN_AND_APPLY, True),
        (True, None, RunType.DESTROY, True),
        (True, False, RunType.PLAN_AND_APPLY, False),
        (False, True, RunType.PLAN_AND_APPLY, True),
        (False, None, RunType.PLAN_AND_APPLY, False),
        (True, True, RunType.PLAN, False),
        (True, True, RunType.DRIFT, False),
    ],
)
def test_auto_apply(
    world: World, core: Core, policy: bool, asked: bool | None, run_type: RunType, expected: bool
) -> None:
    world.workspace(auto_apply=policy)
    assert enqueuing.enqueue(core, request(auto_apply=asked, run_type=run_type)).auto_apply is expected


def test_supersede_discards_older_unconfirmed_plans(world: World, core: Core) -> None:
    world.pod()
    older = world.at(Status.APPLY_PENDING)
    elsewhere = world.at(Status.APPLY_PENDING, workspace="other", slot_id=2)
    enqueuing.enqueue(core, request(supersede=True))
    assert world.run(older.id).status is Status.DISCARDED
    assert world.database.read(runs.events_of, older.id)[-1].cause == "superseded"
    assert world.run(elsewhere.id).status is Status.APPLY_PENDING
    world.check()


def with_source(core: Core, *, cloud: bool = False, backend: str | None = None, state: bytes | None = None) -> Core:
    configuration = Configuration(backend=backend, cloud=cloud)
    return dataclasses.replace(core, source=FakeSource(SourceFacts(configuration=configuration, state=state)))


def test_cloud_is_refused(world: World, core: Core) -> None:
    world.workspace()
    with pytest.raises(InvalidInput, match="cloud"):
        enqueuing.enqueue(with_source(core, cloud=True), request())


def test_a_state_in_the_source_is_refused_taken_over_or_ignored(world: World, core: Core) -> None:
    world.workspace()
    found = with_source(core, state=STATE)
    with pytest.raises(InvalidInput, match=r"terraform\.tfstate") as caught:
        enqueuing.enqueue(found, request())
    assert caught.value.field == "--path"
    enqueuing.enqueue(found, request(ignore_state=True))
    assert world.database.read(states.current, "network") is None
    enqueuing.enqueue(found, request(import_state=True))
    current = world.database.read(states.current, "network")
    assert current is not None
    assert (current.serial, current.run_id) == (3, None)
    enqueuing.enqueue(found, request())
    enqueuing.enqueue(with_source(core, state=STATE, backend="s3"), request())


def test_a_source_that_is_too_large(world: World, core: Core) -> None:
    world.workspace()
    small = dataclasses.replace(core, settings=dataclasses.replace(core.settings, max_source=3))
    with pytest.raises(InvalidInput):
        enqueuing.enqueue(small, request())


class WatchingArtifacts(MemoryArtifacts):
    """Lets somebody else enqueue while a source is stored."""

    def __init__(self, beside: Callable[[], object]) -> None:
        super().__init__()
        self._beside = beside

    def put_all(self, sealed: Mapping[str, bytes]) -> None:
        if any("source" in key for key in sealed):
            self._beside()
        super().put_all(sealed)


def with_large_source(core: Core, beside: Callable[[], object]) -> Core:
    source = FakeSource(without_backend(), packed=LARGE)
    return dataclasses.replace(core, artifacts=WatchingArtifacts(beside), source=source)


def test_a_large_source_holds_up_nobody_while_it_is_stored(world: World, core: Core) -> None:
    world.workspace()
    others: list[int] = []
    core = with_large_source(core, lambda: others.append(world.enqueue("beside").id))
    found = [enqueuing.enqueue(core, request()) for _ in range(2)]
    assert len({run.id for run in found} | set(others)) == 4
    for run in found:
        assert load_artifact(core, "network", run.id, "source") == LARGE


def test_a_source_whose_run_is_refused_is_removed(sqlite_url: str, tmp_path: Path) -> None:
    """Somebody uses the key for something else between the look and the insert."""
    with contextlib.closing(World(sqlite_url)) as world:
        world.workspace()
        made = make_core(world.url, tmp_path, clock=world.clock)
        core = with_large_source(made, lambda: world.enqueue(idempotency_key="k", request_digest="other"))
        with contextlib.closing(made.database), pytest.raises(Conflict):
            enqueuing.enqueue(core, request(idempotency_key="k"))
        assert core.artifacts.keys("runs/1") == core.artifacts.keys("runs/2") == []
