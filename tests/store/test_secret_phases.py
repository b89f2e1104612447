"""What a phase says of secrets when something goes wrong."""

import dataclasses
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from iacq.client import Client
from iacq.domain.run import Phase, Run, Status
from iacq.errors import PhaseFailed
from iacq.services.core import Core
from iacq.services.phases import runner
from iacq.services.phases.context import SlotWorker
from iacq.store import workspaces
from iacq.store.protocol import waiting
from iacq.testing.git import FakeGit
from iacq.testing.keeper import Machine, ScriptedKeeper
from iacq.testing.storage import PlainSealer
from iacq.testing.workshop import ScriptedWorkshop
from tests import samples
from tests.store.world import World

HUSH = "hush-hush"


class Damaged(PlainSealer):
    """What a run was enqueued with is not what was stored."""

    def open(self, sealed: bytes, *, bound_to: str) -> bytes:
        return super().open(sealed[:-1] if bound_to.endswith("kind=inputs") else sealed, bound_to=bound_to)


def claimed(world: World, core: Core, root: Path, before: Callable[[str], None]) -> tuple[Run | None, Run]:
    """Let a slot plan a run whose workspace has a secret; returns what the slot says, and the run."""
    world.pod()
    run = Client(core).enqueue("network", "plan")
    world.do(waiting.dispatch, run, world.slot())
    workshop = ScriptedWorkshop(root / "slot", root / "links", before=before)
    keeper = ScriptedKeeper(Machine(), boottime=core.clock.boottime, script=lambda _job: (1, 0), before=before)
    worker = SlotWorker(
        core=core, place=world.place(), keeper=keeper, workshop=workshop, git=FakeGit(), jobs=workshop.jobs
    )
    answer = runner.answer_doorbell(worker, run.id, Phase.PLAN, world.run(run.id).attempt)
    return answer, world.run(run.id)


def test_an_unforeseen_error_shows_no_secret(
    world: World, core: Core, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Celery prints what a task raises, and sends it to whoever listens."""
    Client(core).create_workspace(samples.workspace(), secret_environment={"TOKEN": HUSH})

    def fail(operation: str) -> None:
        if operation == "unpack_source":
            raise KeyError(f"no {HUSH} here")

    with pytest.raises(PhaseFailed, match="unforeseen KeyError") as caught:
        claimed(world, core, tmp_path, fail)
    assert HUSH not in "".join(traceback.format_exception(caught.value))
    assert "KeyError: 'no *** here'" in caplog.text
    assert HUSH not in caplog.text


def test_a_foreseen_error_shows_no_secret(world: World, core: Core, tmp_path: Path) -> None:
    Client(core).create_workspace(samples.workspace(), secret_variables={"token": HUSH})

    def fail(operation: str) -> None:
        if operation == "unpack_source":
            raise PhaseFailed(f"{HUSH} is in the way", hint=f"not {HUSH}")

    _, run = claimed(world, core, tmp_path, fail)
    assert (run.status, run.error_text) == (Status.FAILED, "*** is in the way (not ***)")
    assert HUSH not in str([world.rows()[name] for name in ("iacq_events", "iacq_logs", "workspace_tasks")])


def test_secrets_that_cannot_be_read_fail_the_run_at_once(world: World, core: Core, tmp_path: Path) -> None:
    Client(core).create_workspace(samples.workspace(), secret_environment={"TOKEN": HUSH})
    operations: list[str] = []
    _, run = claimed(world, dataclasses.replace(core, sealer=Damaged()), tmp_path, operations.append)
    assert (run.status, run.error_code) == (Status.FAILED, "unreadable")
    assert operations == []
    assert world.database.read(workspaces.secrets_of, "network") is not None
