"""A change of keys, on real rows, real files and beside writers."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iacq.adapters.artifacts_files import FileArtifacts
from iacq.adapters.sealer import AesGcmSealer
from iacq.client import Client
from iacq.domain.run import Status
from iacq.domain.workspace_secrets import WorkspaceSecrets
from iacq.errors import InvalidInput
from iacq.services import reencrypting, states, workspace_secrets
from iacq.services.core import Core, load_artifact, store_artifact
from iacq.services.reencrypting import Tally
from iacq.store import artifacts, key_checks, sealed_rows, workspaces
from iacq.store import states as state_rows
from iacq.store.blobs import DatabaseArtifacts
from iacq.store.sealed_rows import Kind
from tests import samples
from tests.store.world import World, at_once

OLD, NEW = b"o" * 32, b"n" * 32
RUNS = 3
HUSH = "hush-hush"
STATE = b'{"version": 4, "serial": %d, "lineage": "l", "resources": [], "outputs": {}, "terraform_version": "1.11.4"}'


@pytest.fixture(params=["files", "rows"])
def old(core: Core, tmp_path: Path, request: pytest.FixtureRequest) -> Core:
    """The services as they were before the new key."""
    stored = FileArtifacts(tmp_path / "artifacts") if request.param == "files" else DatabaseArtifacts(core.database)
    return dataclasses.replace(core, artifacts=stored, sealer=AesGcmSealer([OLD]))


def under(core: Core, *keys: bytes) -> Core:
    return dataclasses.replace(core, sealer=AesGcmSealer(keys))


def fill(world: World, core: Core) -> None:
    """Seal something of each kind."""
    client = Client(core)
    for name in ("network", "cluster"):
        client.create_workspace(samples.workspace(name), secret_environment={"TOKEN": HUSH})
        for serial in (1, 2):
            new = states.prepare(core, name, STATE % serial)
            assert new is not None
            world.do(state_rows.add, name, new, run_id=None)
    new = states.prepare(core, "network", STATE % 3)
    assert new is not None
    world.do(state_rows.put_working, "network", new, run_id=1)
    client.create_workspace(samples.workspace("without"))
    for _ in range(RUNS):
        run = world.enqueue()
        world.do(artifacts.record, run.id, [store_artifact(core, "network", run.id, "plan", b"plan", version=1)])


def check_readable(world: World, core: Core) -> None:
    assert states.pull(core, "network", 1) == STATE % 1
    assert states.pull(core, "cluster") == STATE % 2
    working = world.database.read(sealed_rows.get, Kind.WORKING_STATES, ("network",))
    assert working is not None
    assert core.sealer.open(working, bound_to=states.bound("network")) == STATE % 3
    assert secrets(core) == {"TOKEN": HUSH}
    for run in Client(core).list():
        assert load_artifact(core, "network", run.id, "plan") == b"plan"


def secrets(core: Core) -> Any:
    sealed = core.database.read(workspaces.secrets_of, "network")
    return workspace_secrets.unseal(core, "network", sealed).environment


def reencrypt(core: Core) -> dict[str, tuple[int, int, int]]:
    tallies = Client(core).reencrypt(lambda _tally: None)
    return {tally.kind: (tally.seen, tally.rewritten, len(tally.left)) for tally in tallies}


def test_after_it_the_old_key_is_not_needed(world: World, old: Core) -> None:
    fill(world, old)
    both = under(old, NEW, OLD)
    found = {"artifacts": (3, 3, 0), "secrets": (2, 2, 0), "states": (4, 4, 0), "working_states": (1, 1, 0)}
    assert reencrypt(both) == found
    check_readable(world, under(old, NEW))
    assert reencrypt(under(old, NEW)) == {kind: (seen, 0, 0) for kind, (seen, _, _) in found.items()}
    with pytest.raises(InvalidInput, match="is not here"):
        Client(old).enqueue("network", "plan")


def test_one_that_was_interrupted_goes_on(world: World, old: Core) -> None:
    fill(world, old)
    both = under(old, NEW, OLD)

    def interrupt(tally: Tally) -> None:
        if tally.kind == Kind.STATES:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reencrypting.reencrypt(both, interrupt, batch=2)
    check_readable(world, both)
    assert reencrypt(both) == {
        "artifacts": (3, 0, 0),
        "secrets": (2, 0, 0),
        "states": (4, 2, 0),
        "working_states": (1, 1, 0),
    }
    check_readable(world, under(old, NEW))


def test_the_old_key_stays_while_something_cannot_be_opened(world: World, old: Core) -> None:
    fill(world, old)
    sealed = world.database.read(sealed_rows.get, Kind.STATES, ("cluster", 1))
    assert sealed is not None
    damaged = sealed[:-1] + bytes([sealed[-1] ^ 1])
    assert world.do(sealed_rows.replace, Kind.STATES, ("cluster", 1), seen=sealed, sealed=damaged)
    both = under(old, NEW, OLD)
    assert reencrypt(both)["states"] == (4, 3, 1)
    assert len(world.database.read(key_checks.listed)) == 2
    with pytest.raises(InvalidInput):
        reencrypt(under(old, NEW))


class Beside(AesGcmSealer):
    """Lets somebody else act once, between what is read and what is written."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__([NEW, OLD])
        self._act: Callable[[], object] | None = act

    def seal(self, plain: bytes, *, bound_to: str) -> bytes:
        if HUSH.encode() in plain and self._act is not None:
            act, self._act = self._act, None
            act()
        return super().seal(plain, bound_to=bound_to)


def test_a_change_beside_it_is_not_overwritten(world: World, old: Core) -> None:
    fill(world, old)
    other = Client(under(old, OLD, NEW))
    beside = Beside(lambda: other.update_workspace("cluster", secret_environment={"TOKEN": "changed", "B": HUSH}))
    found = {tally.kind: tally for tally in reencrypting.reencrypt(dataclasses.replace(old, sealer=beside), print)}
    assert found["secrets"].rewritten == 2
    present = under(old, NEW)
    sealed = present.database.read(workspaces.secrets_of, "cluster")
    assert workspace_secrets.unseal(present, "cluster", sealed) == WorkspaceSecrets(
        environment={"TOKEN": "changed", "B": HUSH}
    )


def test_two_of_them_and_writers_at_once(world: World, old: Core) -> None:
    fill(world, old)
    both = under(old, NEW, OLD)
    results = at_once(
        *[lambda: reencrypt(both)] * 2,
        *[
            lambda name=name: Client(both).update_workspace("network", secret_environment={name: HUSH})
            for name in ("A", "B", "C")
        ],
    )
    assert [result for result in results if isinstance(result, Exception)] == []
    present = under(old, NEW)
    assert secrets(present) == dict.fromkeys(("TOKEN", "A", "B", "C"), HUSH)
    assert reencrypt(present)["artifacts"] == (3, 0, 0)


def test_an_artifact_that_is_removed_meanwhile_stays_away(world: World, old: Core) -> None:
    fill(world, old)
    run = Client(old).list(status=[Status.PENDING])[0]
    newer = store_artifact(old, "network", run.id, "plan", b"plan", version=2)
    key = f"runs/{run.id}/plan-1"

    class Removing(AesGcmSealer):
        def seal(self, plain: bytes, *, bound_to: str) -> bytes:
            if bound_to.endswith(f"run={run.id};kind=plan"):
                world.do(artifacts.record, run.id, [newer])
                old.artifacts.delete(key)
            return super().seal(plain, bound_to=bound_to)

    reencrypting.reencrypt(dataclasses.replace(old, sealer=Removing([NEW, OLD])), print)
    with pytest.raises(Exception, match="not stored"):
        old.artifacts.get(key)
