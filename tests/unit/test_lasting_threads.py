"""Threads that live as long as their process, or as a phase: an error that nobody foresaw does not end them."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.utils.dispatch import Signal

from iacq.bootstrap.measured import Pulse
from iacq.domain.run import Phase, Status
from iacq.domain.slot import Place
from iacq.errors import Unavailable
from iacq.services.phases.lease import Lease
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


def test_a_slot_tries_again(caplog: Any) -> None:
    def job(_worker: object) -> None:
        raise UnforeseenError

    quietly: Callable[..., object] = slot._quietly
    assert quietly(job, None) is None
    assert logged(caplog) == [UnforeseenError]


def test_a_slot_is_closed_before_its_process_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Others of its pod may apply for an hour yet: what is sent to it meanwhile would wait for nobody."""
    told, database = Signal(), Answers(Unavailable("away", code="database_unavailable"), UnforeseenError(), [])
    present = core(database, tmp_path)
    present.ring_control = lambda _task: True
    place = Place(pod_name="pod1", slot_id=1, agent_id="pod1-a", boot="b")
    worker: Any = SimpleNamespace(core=present, place=place, stop_at=None)
    node = SimpleNamespace(start=lambda: told.send(sender=None), exitcode=0)
    monkeypatch.setattr(slot, "worker_shutting_down", told)
    monkeypatch.setattr(slot, "_CLOSE_AGAIN", 0.01)
    monkeypatch.setattr("iacq.bootstrap.worker_app", lambda _settings: Celery(set_as_current=False))
    monkeypatch.setattr("iacq.bootstrap.worker_node", lambda *_: node)
    with pytest.raises(SystemExit):
        slot._consume(present.settings, worker)
    assert database.asked == 3


def logged(caplog: Any) -> list[type]:
    """Return what was logged with its traceback."""
    return [record.exc_info[0] for record in caplog.records if record.exc_info]
