import dataclasses
from pathlib import Path

import pytest

from iacq.domain import transitions
from iacq.domain.run import Run, RunOptions, RunType, Status
from iacq.errors import Conflict, InvalidInput, NotFound
from iacq.services import enqueuing, retrying
from iacq.services.core import Core, load_artifact
from iacq.services.enqueuing import Inputs, Request
from iacq.store import artifacts, workspaces
from iacq.testing.source import FakeSource, without_backend
from tests.store.test_enqueuing import STATE, with_source
from tests.store.world import World

NEW_SOURCE = b"what is there now"


def ended(world: World, core: Core, run_type: RunType = RunType.DESTROY, **asked: object) -> Run:
    world.workspace(auto_apply=True, variables={"region": "eu"}, environment={"A": "1"})
    run = enqueuing.enqueue(core, Request(workspace="network", run_type=run_type, by="alice", **asked))  # type: ignore[arg-type]
    world.set_run(run.id, status=Status.FAILED, error_code="terraform")
    return world.run(run.id)


def test_the_same_is_asked_for_again_with_the_source_of_now(world: World, core: Core, tmp_path: Path) -> None:
    (tmp_path / "x.tfvars").write_text("size = 3\n")
    options = RunOptions(targets=("a.b",), replacements=("a.c",), refresh=False, parallelism=3)
    files, variables = (str(tmp_path / "x.tfvars"),), {"n": 1}
    old = ended(
        world, core, var_files=files, variables=variables, options=options, priority=7, message="m", idempotency_key="k"
    )
    (tmp_path / "x.tfvars").unlink()
    world.do(
        workspaces.update,
        dataclasses.replace(world.database.read(workspaces.get, "network"), variables={}),
        secrets=None,
    )
    changed = dataclasses.replace(core, source=FakeSource(without_backend(), packed=NEW_SOURCE))
    run = retrying.retry(changed, old.id, by="bob")
    kept = ("workspace", "run_type", "pool", "priority", "message")
    assert [getattr(run, name) for name in kept] == [getattr(old, name) for name in kept]
    assert (run.status, run.retry_of, run.requested_by) == (Status.PENDING, old.id, "bob")
    assert (run.auto_apply, run.idempotency_key) == (False, None), "a person reads the new plan"
    assert load_artifact(core, "network", run.id, "source") == NEW_SOURCE
    inputs = load_artifact(core, "network", run.id, "inputs")
    assert inputs == load_artifact(core, "network", old.id, "inputs")
    assert Inputs.from_json(inputs).run_var_files[0].text == "size = 3\n"
    assert world.run(old.id) == old


@pytest.mark.parametrize("status", sorted(transitions.ENDED))
def test_any_end_may_be_retried(world: World, core: Core, status: Status) -> None:
    old = ended(world, core, RunType.PLAN)
    world.set_run(old.id, status=status)
    assert retrying.retry(core, old.id, by="bob").run_type is RunType.PLAN


@pytest.mark.parametrize("status", sorted(set(Status) - transitions.ENDED))
def test_a_run_that_has_not_ended_is_a_conflict(world: World, core: Core, status: Status) -> None:
    world.pod()
    run = world.at(status)
    with pytest.raises(Conflict, match=f"has not ended: it is {status}") as caught:
        retrying.retry(core, run.id, by="bob")
    assert ("resolve" in str(caught.value.hint)) is (status is Status.APPLY_INTERRUPTED)


def test_what_is_not_there_cannot_be_retried(world: World, core: Core) -> None:
    with pytest.raises(NotFound):
        retrying.retry(core, 2_000_000_000, by="bob")
    run = ended(world, core)
    world.do(lambda tx: tx.execute(artifacts.artifacts.delete()))
    with pytest.raises(NotFound, match="not stored any more"):
        retrying.retry(core, run.id, by="bob")
    world.do(workspaces.delete, "network", force=True)
    with pytest.raises(NotFound, match="no workspace network"):
        retrying.retry(core, run.id, by="bob")
    world.clock.advance(1)
    world.workspace()
    with pytest.raises(Conflict, match="earlier workspace"):
        retrying.retry(core, run.id, by="bob")


def test_a_state_in_the_source_is_asked_about_again(world: World, core: Core) -> None:
    run = ended(world, core)
    found = with_source(core, state=STATE)
    with pytest.raises(InvalidInput, match=r"terraform\.tfstate"):
        retrying.retry(found, run.id, by="bob")
    assert retrying.retry(found, run.id, by="bob", ignore_state=True).retry_of == run.id
