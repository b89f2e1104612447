"""Threads that live as long as their process, or as a phase: an error that nobody foresaw does not end them."""

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import WorkerShutdown
from celery.utils.dispatch import Signal
from celery.worker import state

from iacq.bootstrap.measured import Pulse
from iacq.domain import masking
from iacq.domain.run import Phase, Status
from iacq.domain.slot import Place
from iacq.errors import NotFound, Unavailable
from iacq.keeper.child import INTERRUPT
from iacq.services.phases import ending, logwriter, remains, statewriter
from iacq.services.phases.context import _attendants
from iacq.services.phases.lease import Lease
from iacq.services.phases.logwriter import LogWriter
from iacq.services.phases.statewriter import StateWriter
from iacq.settings import Settings
from iacq.store.pods import Registration
from iacq.store.protocol.owning import Hold
from iacq.store.session import Raced
from iacq.testing.clock import FakeClock
from tests import samples
from tests.waiting import wait_until
from workers import housekeeping, slot

POD = Registration(pod_name="pod1", agent_id="pod1-a", pool="default", slots=1)
HOLD = Hold(run_id=1, phase=Phase.APPLY, fence=3, owner="pod1")


class UnforeseenError(Exception):
    """Nobody catches this by name."""


class Answers:
    """A database that answers each change with the next of these, and then with the last one again and again."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked = 0

    def read(self, *_: object) -> bool:
        return True

    def run(self, *_: object, **__: object) -> Any:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    run_statement = run


def core(database: Answers, home: Path) -> Any:
    settings = Settings(home=home, heartbeat=0.01, renew=0.01)
    return SimpleNamespace(database=database, settings=settings, clock=FakeClock())


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as made:
        yield made


def test_the_heartbeat_goes_on(tmp_path: Path, threads: ThreadPoolExecutor, caplog: Any) -> None:
    over, pulse, database = threading.Event(), Pulse(lambda: 0.0), Answers(UnforeseenError(), None)
    room: Any = SimpleNamespace(tend=lambda: None)
    beating = threads.submit(housekeeping._beat, core(database, tmp_path), POD, {}, over, pulse, room)
    try:
        wait_until(lambda: beating.done() or pulse.heard, what="a heartbeat after the one that failed")
    finally:
        over.set()
    beating.result()
    assert pulse.heard
    assert logged(caplog) == [UnforeseenError]


def test_renewals_go_on(tmp_path: Path, threads: ThreadPoolExecutor, caplog: Any) -> None:
    database = Answers(UnforeseenError(), samples.run(Status.APPLYING))
    with Lease(core(database, tmp_path), threads, HOLD, stage="apply", valid_until=0) as lease:
        wait_until(lambda: lease._renewing.done() or lease.valid_until, what="a renewal after the one that failed")
        assert lease.valid_until
        assert not lease.lost
    assert logged(caplog) == [UnforeseenError]


def test_renewals_end_with_the_lease(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    database = Answers(UnforeseenError(), Raced())
    with Lease(core(database, tmp_path), threads, HOLD, stage="apply", valid_until=0) as lease:
        wait_until(lease._renewing.done, what="no renewal any more")
        assert lease.lost
    assert database.asked == 2


STATE = '{"version": 4, "serial": %d, "lineage": "l", "terraform_version": "1.11.4", "resources": []}'


def test_states_are_stored_on(tmp_path: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statewriter, "_EVERY", 0.01)  # nobody waits for half a second here
    database, file = Answers(UnforeseenError(), None), tmp_path / "terraform.tfstate"
    present = core(database, tmp_path)
    present.sealer = SimpleNamespace(seal=lambda data, bound_to: data)
    looks, really = 0, Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        nonlocal looks
        looks += path == file
        if path == file and looks == 3:
            raise OSError(errno.EIO, "Input/output error")
        return really(path, **options)

    monkeypatch.setattr(Path, "stat", stat)  # no disk here fails on request
    with StateWriter(present, threads, "network", 1, fence=1, effects_fence=1, file=file):
        wait_until(lambda: looks > 3, what="a look after the one that failed")
        file.write_text(STATE % 1)
        wait_until(lambda: database.asked == 2, what="the state is stored though the first attempt failed")


def test_logs_are_stored_on(tmp_path: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logwriter, "_AFTER_UNFORESEEN", 0.01)  # nobody waits for a second here
    database = Answers(UnforeseenError(), None)
    database.read = lambda *_: 0  # type: ignore[method-assign,assignment]
    with contextlib.closing(
        LogWriter(core(database, tmp_path), threads, 1, Phase.APPLY, fence=1, first=True)
    ) as writer:
        writer.write("one")
        wait_until(lambda: database.asked == 2, what="the line is stored though the first attempt failed")


def test_what_cannot_be_read_now_takes_no_thread_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot has three of them, for its lease, log and state. What an interrupted apply printed is asked for again."""
    answers: list[Exception] = [Unavailable("Input/output error")] * 3 + [NotFound("gone")]

    def load(*_: object) -> bytes:
        raise answers.pop(0)

    monkeypatch.setattr(remains, "load_artifact", load)  # no disk here fails on request
    database = Answers(None)
    database.read = lambda *_: 0  # type: ignore[method-assign,assignment]
    worker: Any = SimpleNamespace(core=core(database, tmp_path), threads=_attendants())
    run = samples.run(Status.APPLY_INTERRUPTED)
    for _ in range(3):
        with pytest.raises(Unavailable):
            remains._keep_output(worker, run, tmp_path, 1)
    assert not worker.threads._threads, "a thread serves a log that nobody writes"
    remains._keep_output(worker, run, tmp_path, 1)


def test_an_adopted_apply_is_followed_though_its_inputs_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn() -> None:
        raise Unavailable("Input/output error")

    followed: list[object] = []
    # What follows is tested with real terraform; here, that it is reached.
    monkeypatch.setattr(ending, "follow", lambda ctx, *_: followed.append(ctx.log.masking))
    shown = SimpleNamespace(write=lambda _text: None)
    ctx: Any = SimpleNamespace(run=samples.run(Status.APPLYING), learn_secrets=learn, log=shown)
    ending.continue_apply(ctx, tmp_path, 1)
    assert followed == [masking.EVERYTHING]


def test_a_slot_tries_again(caplog: Any) -> None:
    def job(_worker: object) -> None:
        raise UnforeseenError

    quietly: Callable[..., object] = slot._quietly
    assert quietly(job, None) is None
    assert logged(caplog) == [UnforeseenError]


class StoppingSlot:
    """A slot process whose Celery node ends at once, as it does when it is told to stop: it knows of no task.

    meanwhile: what happens while it runs.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path, database: Answers) -> None:
        self._told = Signal()
        self.database = database
        present = core(database, home)
        present.ring_control = lambda _task: True
        place = Place(pod_name="pod1", slot_id=1, agent_id="pod1-a", boot="b")
        self.worker: Any = SimpleNamespace(core=present, place=place, stop_at=None, lock=threading.Lock())
        self.settled = 0
        self.jobs: list[Path] = []
        # Celery's parts are stood in for: a real node would end the process of the tests with it.
        monkeypatch.setattr(slot, "worker_shutting_down", self._told)  # its receivers live as long as the process
        monkeypatch.setattr(slot, "_CLOSE_AGAIN", 0.01)  # nobody waits for half a second here
        monkeypatch.setattr("iacq.bootstrap.worker_app", lambda _settings: Celery(set_as_current=False))
        monkeypatch.setattr("iacq.services.phases.unfinished.settle", self._settle)  # tests/store has the real one
        monkeypatch.setattr("iacq.services.phases.unfinished.running", lambda _worker: self.jobs)
        monkeypatch.setattr("iacq.services.phases.unfinished.is_left", lambda _worker: bool(self.jobs))
        monkeypatch.setattr(state, "should_stop", None)  # of this process: put back after the test
        self._monkeypatch = monkeypatch

    def _settle(self, _worker: object) -> None:
        self.settled += 1

    def tell(self) -> None:
        """Do what Celery does when it hears SIGTERM."""
        self._told.send(sender=None)

    def run(self, meanwhile: Callable[[], None]) -> None:
        node = SimpleNamespace(start=meanwhile, exitcode=0)
        self._monkeypatch.setattr("iacq.bootstrap.worker_node", lambda *_: node)
        before = {number: signal.getsignal(number) for number in (INTERRUPT, signal.SIGTERM)}
        try:
            stopping = slot._Stopping(self.worker, self.worker.core.settings.stop_grace)
            slot._consume(self.worker.core.settings, self.worker, stopping)
            slot._finish(self.worker)
            stopping.wait_closed()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def now(self) -> float:
        return self.worker.core.clock.monotonic()


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StoppingSlot:
    return StoppingSlot(monkeypatch, tmp_path, Answers([]))


def test_a_slot_is_closed_before_its_process_ends(stopping: StoppingSlot) -> None:
    """Others of its pod may apply for an hour yet: what is sent to it meanwhile would wait for nobody."""
    answers = Unavailable("away", code="database_unavailable"), UnforeseenError(), []
    stopping.database = stopping.worker.core.database = Answers(*answers)
    stopping.run(stopping.tell)
    assert stopping.database.asked == 3
    assert stopping.settled == 1, "what an earlier process left was not looked for"


def test_a_slot_does_not_leave_an_adopted_apply(stopping: StoppingSlot) -> None:
    """Celery does not know of it, and ends. A second request to stop still interrupts it."""
    followed = []

    class Followed:
        """The lock of a slot whose apply a thread follows."""

        def __enter__(self) -> None:
            assert stopping.worker.stop_at > stopping.now
            os.kill(os.getpid(), INTERRUPT)

        def __exit__(self, *_: object) -> None:
            followed.append(stopping.worker.stop_at)

    stopping.worker.lock = Followed()
    stopping.run(stopping.tell)
    assert followed == [stopping.now]


def test_what_cannot_be_adopted_is_interrupted_in_time(stopping: StoppingSlot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is away for as long as the pod stops. Terraform ends with the pod: it may save its state before."""
    worker, job = stopping.worker, Path("12-3-apply")
    clock, pauses, interrupted = worker.core.clock, 0, []

    def pause(_seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        clock.advance(1000)

    def interrupt(directory: Path) -> None:
        interrupted.append((directory, pauses))
        stopping.jobs = []  # it ends

    monkeypatch.setattr(slot.time, "sleep", pause)  # time goes on by as much as the test says
    worker.keeper = SimpleNamespace(interrupt=interrupt)
    worker.stop_at = clock.monotonic() + 1500
    stopping.jobs = [job]
    slot._finish(worker)
    assert interrupted == [(job, 2)]


def test_both_requests_to_stop_are_heard_in_any_order(stopping: StoppingSlot) -> None:
    def meanwhile() -> None:
        os.kill(os.getpid(), INTERRUPT)
        assert stopping.worker.stop_at == stopping.now
        stopping.tell()

    stopping.run(meanwhile)
    assert stopping.worker.stop_at == stopping.now
    assert stopping.database.asked == 1, "the slot was not closed"


def test_a_slot_hears_a_request_before_celery_does(stopping: StoppingSlot) -> None:
    stopping.run(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert stopping.database.asked == 1, "the slot was not closed"
    with pytest.raises(WorkerShutdown):
        state.maybe_shutdown()


def logged(caplog: Any) -> list[type]:
    """Return what was logged with its traceback."""
    return [record.exc_info[0] for record in caplog.records if record.exc_info]
