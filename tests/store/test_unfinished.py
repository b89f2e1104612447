"""What a slot does about an apply whose end nobody was told: by a process that died, or by the one that lives on."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from iacq.client import Client
from iacq.domain.run import Phase, Run, StartTier, Status
from iacq.domain.slot import Closed, SlotStatus
from iacq.domain.transitions import Cause
from iacq.errors import Unavailable
from iacq.keeper import files
from iacq.ports import Job
from iacq.services import confirming, dispatching, states
from iacq.services.core import Core
from iacq.services.phases import ending, unfinished
from iacq.services.phases.context import SlotWorker
from iacq.services.phases.statewriter import StateWriter
from iacq.store import runs
from iacq.store.protocol import owning
from iacq.store.protocol.owning import Hold
from iacq.store.session import DATABASE_UNAVAILABLE
from tests.store.one_slot import OneSlot
from tests.store.world import LEASE_MS, World
from tests.waiting import wait_until
from workers import slot as slot_program

S = Status
KILLED = -9


@contextlib.contextmanager
def listening(process: SlotWorker) -> Iterator[None]:
    """Let the thread run that hears of bells, as in a real process."""
    reading, writing = os.pipe()
    thread = threading.Thread(target=slot_program._listen, args=(process, reading))
    thread.start()
    try:
        yield
    finally:
        process.stop_at = 0.0
        thread.join()
        os.close(reading)
        os.close(writing)


@pytest.fixture
def make(world: World, core: Core, tmp_path: Path) -> Callable[..., OneSlot]:
    return lambda **options: OneSlot(world, core, tmp_path, **options)


def test_an_interrupted_apply_whose_end_is_known_does_not_keep_the_slot_closed(make, world: World) -> None:
    """Its process was killed by a signal: the slot is free, and serves others while a person looks at the run."""
    slot = make(returncode=KILLED)
    slot.apply()
    assert slot.run.status is S.APPLY_INTERRUPTED
    assert world.slot(1).status is SlotStatus.IDLE
    slot.close(Closed.STARTING)
    slot.begin()
    assert slot.look()
    assert world.slot(1).closed is None
    assert slot.jobs, "what is known of it is kept"


def test_a_process_that_was_paused_past_its_lease_says_that_nothing_was_started(make, world: World) -> None:
    slot = make()

    def before(operation: str) -> None:
        if operation == "start" and slot.run.effects_at is not None and slot.run.status is S.APPLYING:
            slot.lose_lease()

    slot.before = before
    slot.apply()
    assert slot.process.look_again
    assert slot.look()
    assert (slot.run.status, slot.run.error_code) == (S.FAILED, "never_started")
    assert world.slot(1).status is SlotStatus.IDLE


def test_a_point_of_no_return_whose_answer_was_lost_is_taken_back(make, world: World, monkeypatch) -> None:
    """Its commit is durable, and the database was away until the lease had ended."""
    slot = make()
    real, lost = slot.core.database.attempt, []

    def attempt(step: Any, *args: Any, **more: Any) -> Any:
        found = real(step, *args, **more)
        if step is owning.pass_point_of_no_return and not lost:
            lost.append(step)
            world.clock.advance(LEASE_MS / 1000 + 1)
            raise Unavailable("the server closed the connection", code=DATABASE_UNAVAILABLE)
        return found

    monkeypatch.setattr(slot.core.database, "attempt", attempt)  # no database loses just this answer on demand
    slot.apply()
    assert slot.run.effects_fence == slot.run.fence
    assert slot.process.look_again
    slot.look()
    assert (slot.run.status, slot.run.effects_at) == (S.CONFIRMED, None)
    dispatching.dispatch(slot.core)
    slot.apply()
    assert slot.run.status is S.APPLIED


def test_an_end_that_could_not_be_told_is_told(make, world: World, monkeypatch) -> None:
    """Something unforeseen was raised after terraform had ended."""
    slot = make()

    def fail(*_: object) -> None:
        raise IntegrityError("INSERT", {}, Exception("a commit whose answer was lost"))

    with monkeypatch.context() as patch:
        patch.setattr(ending, "_save_state", fail)
        slot.apply()
    assert slot.run.status is S.APPLYING
    with listening(slot.process):
        wait_until(lambda: slot.run.status is S.APPLIED, 30, "its process looks again by itself")
    assert world.slot(1).status is SlotStatus.IDLE
    assert not slot.process.look_again


def test_a_word_that_comes_after_the_order_gives_the_run_back(make, world: World, monkeypatch) -> None:
    """The keeper stood still between its launch.json and its last look at the clock."""
    slot = make()
    real = slot.process.keeper.start

    def start(job: Job) -> bool:
        if not job.directory.name.endswith("apply"):
            return bool(real(job))
        files._create(job.directory, "launch.json", {"pid": 1, "start_time": 0}, durable=False)
        files.write_never(job.directory, run_id=job.run_id, fence=job.fence)
        return True

    monkeypatch.setattr(slot.process.keeper, "start", start)  # the files are those of a real one that stood still
    slot.apply()
    slot.look()
    assert (slot.run.status, slot.run.effects_at) == (S.CONFIRMED, None)


def test_without_room_for_what_it_left_an_end_is_told_when_there_is_room(make, world: World, monkeypatch) -> None:
    slot = make()
    real, full = slot.core.artifacts.put_all, [True, True]

    def put_all(sealed: Any) -> Any:
        if full and any("outputs" in key for key in sealed):
            full.pop()
            raise Unavailable("the artifact cannot be stored: No space left on device")
        return real(sealed)

    monkeypatch.setattr(slot.core.artifacts, "put_all", put_all)  # a disk that is full for a while
    slot.apply()
    assert not full, "it was tried"
    assert slot.run.status is S.APPLIED


def test_a_directory_is_not_forgotten_before_a_commit_that_may_still_come(make, world: World, monkeypatch) -> None:
    """The process was killed while the database was at its point of no return; its successor looks in between."""
    slot = make()
    attempt = slot.run.attempt
    world.do(owning.claim, slot.id, Phase.APPLY, attempt, slot.process.place, lease_ms=LEASE_MS)
    hold = Hold(run_id=slot.id, phase=Phase.APPLY, fence=slot.run.fence, owner=slot.process.place.owner)
    files.make_job_directory(files.job_directory(slot.process.jobs, run_id=slot.id, fence=hold.fence, step="apply"))
    slot.begin()
    real, landed = unfinished._settle_run, []

    def settle_run(worker: SlotWorker, run: Run) -> bool:
        if not landed:
            landed.append(world.do(owning.pass_point_of_no_return, hold, StartTier.HOT))
        return real(worker, run)

    monkeypatch.setattr(unfinished, "_settle_run", settle_run)  # the commit lands between its two looks
    assert not slot.look()
    assert landed
    assert slot.jobs
    slot.look()
    assert slot.run.status is S.CONFIRMED, "on the keeper's word that nothing was started"


def test_a_directory_of_a_claim_that_went_back_is_forgotten(make, world: World) -> None:
    slot = make()
    world.do(owning.claim, slot.id, Phase.APPLY, slot.run.attempt, slot.process.place, lease_ms=LEASE_MS)
    files.make_job_directory(files.job_directory(slot.process.jobs, run_id=slot.id, fence=slot.run.fence, step="apply"))
    slot.begin()
    assert not slot.look()
    assert slot.run.status is S.CONFIRMED
    assert slot.look()
    assert not slot.jobs


def test_an_apply_whose_directory_is_gone_is_not_adopted_again_and_again(make, world: World) -> None:
    """What it made cannot be known here: a person decides, and the slot serves others."""
    slot = make()

    class Killed(BaseException):
        pass

    def before(operation: str) -> None:
        if operation == "started" and slot.jobs:
            raise Killed

    slot.before = before
    with pytest.raises(Killed):
        slot.ring(slot.id, Phase.APPLY)
    slot.before = lambda _operation: None
    for link in (slot.root / "links").iterdir():
        link.unlink()
    slot.begin()
    fence = slot.run.fence
    assert not slot.look()
    assert (slot.run.status, slot.run.fence) == (S.APPLYING, fence)
    for directory in list(slot.machine.programs):
        slot.machine.end(directory)
    slot.lose_lease()
    assert slot.look()
    assert slot.run.status is S.APPLY_INTERRUPTED
    assert world.slot(1).status is SlotStatus.IDLE


@pytest.mark.parametrize("phase", Phase)
def test_a_freeze_that_was_lifted_meanwhile_costs_no_try(make, world: World, phase: Phase) -> None:
    """Its owner heard of the freeze, and then it was withdrawn."""
    slot = make()
    if phase is Phase.PLAN:
        confirming.cancel(slot.core, slot.id, by="bob", force=False)
        slot.id = Client(slot.core).enqueue("network", "plan").id
        dispatching.dispatch(slot.core)

    def before(operation: str) -> None:
        if slot.process.lease is not None:
            slot.process.lease.freeze_requested = True

    slot.before = before
    slot.ring(slot.id, phase)
    assert slot.run.status in (S.PENDING, S.CONFIRMED)
    assert slot.run.tries == 0
    assert [event.cause for event in world.do(runs.events_of, slot.id)][-1] is Cause.STOPPED


def test_a_state_is_stored_though_an_earlier_commit_arrives_late(make, tmp_path: Path, monkeypatch) -> None:
    """The database was given up while it committed; what is stored next collides with that."""
    slot = make()
    file, stored = tmp_path / "terraform.tfstate", []

    def save_working(*_: object, **__: object) -> None:
        stored.append(file.read_text())
        if len(stored) == 1:
            raise IntegrityError("INSERT", {}, Exception("there is a row now"))

    monkeypatch.setattr(states, "save_working", save_working)  # the collision needs a database that hangs
    with (
        ThreadPoolExecutor() as threads,
        StateWriter(slot.core, threads, "network", slot.id, fence=1, effects_fence=1, file=file),
    ):
        file.write_text('{"version": 4, "serial": 1, "lineage": "l", "outputs": {}, "resources": []}')
        wait_until(lambda: len(stored) == 2, 30, "it is stored again")
