"""Two keepers (one of an earlier agent, one of the present) never disagree about a job."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iacq.adapters.keeper_client import KeeperClient
from iacq.errors import Conflict
from iacq.keeper import files
from iacq.keeper.agent import single_keeper
from tests.keeper import jobs

ROUNDS = 60


@pytest.fixture
def two() -> Iterator[tuple[KeeperClient, KeeperClient]]:
    with single_keeper() as one, single_keeper() as other:
        yield KeeperClient(one), KeeperClient(other)


def at_once(first: Callable[[], bool], second: Callable[[], bool]) -> tuple[bool, bool]:
    """Call both at the same time; an "already started" counts as False."""
    barrier = threading.Barrier(2)
    answers: dict[int, bool] = {}

    def call(number: int, function: Callable[[], bool]) -> None:
        barrier.wait()
        answers[number] = False
        with contextlib.suppress(Conflict):
            answers[number] = function()

    threads = [threading.Thread(target=call, args=pair) for pair in enumerate((first, second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers[0], answers[1]


def test_word_against_start(two: tuple[KeeperClient, KeeperClient], tmp_path: Path) -> None:
    starter, other = two
    started = 0
    for run_id in range(ROUNDS):
        job = jobs.shell_job(tmp_path, "echo ran", run_id=run_id)
        directory = job.directory
        files.make_job_directory(directory)
        start, word = at_once(
            lambda job=job: starter.start(job),  # type: ignore[misc]
            lambda directory=directory, run_id=run_id: other.word(directory, run_id=run_id, fence=1),  # type: ignore[misc]
        )
        assert start != word
        if start:
            started += 1
            assert starter.wait(directory, 10) is not None
        result = files.read_result(directory)
        assert result is not None
        assert result.never == word
        assert jobs.out(directory) == ("ran\n" if start else "")
    assert started < ROUNDS, "the word never won: the race was none"


def test_start_against_start(two: tuple[KeeperClient, KeeperClient], tmp_path: Path) -> None:
    for run_id in range(ROUNDS):
        job = jobs.shell_job(tmp_path, "echo ran", run_id=run_id)
        one, other = at_once(
            lambda job=job: two[0].start(job),  # type: ignore[misc]
            lambda job=job: two[1].start(job),  # type: ignore[misc]
        )
        assert one != other
        assert two[0 if one else 1].wait(job.directory, 10) is not None
        assert jobs.out(job.directory) == "ran\n"


def test_word_against_word(two: tuple[KeeperClient, KeeperClient], tmp_path: Path) -> None:
    for run_id in range(ROUNDS):
        directory = jobs.shell_job(tmp_path, "", run_id=run_id).directory
        words = [
            lambda client=client, run_id=run_id: client.word(directory, run_id=run_id, fence=1)  # type: ignore[misc] # noqa: B023 - called in this round
            for client in two
        ]
        assert at_once(*words) == (True, True)
