"""Many rings for one job: one does it, one waits, the others are covered by the one that waits."""

import threading
from typing import Any

from iacq.tasks import OneAtATime
from tests.waiting import wait_until

CORE: Any = None  # the job of these tests needs none


def test_rings_during_the_job_lead_to_one_more():
    begun, may_end = threading.Semaphore(0), threading.Semaphore(0)
    done = []

    def job(_core: object) -> None:
        begun.release()
        assert may_end.acquire(timeout=60)
        done.append(1)

    once = OneAtATime(job)
    threads = [threading.Thread(target=once, args=(CORE,)) for _ in range(6)]
    threads[0].start()
    assert begun.acquire(timeout=60)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: sum(thread.is_alive() for thread in threads) == 2, what="four are turned away")
    may_end.release(2)
    for thread in threads:
        thread.join(60)
    assert len(done) == 2


def test_a_job_that_fails_does_not_stop_the_next():
    calls = []

    def job(_core: object) -> None:
        calls.append(1)
        raise RuntimeError("no")

    once = OneAtATime(job)
    for _ in range(2):
        try:
            once(CORE)
        except RuntimeError:
            continue
    assert len(calls) == 2
