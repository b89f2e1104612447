"""The log of a phase while the database does not answer."""

import contextlib
import dataclasses
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from iacq.domain.run import Phase, Run, Status
from iacq.errors import Unavailable
from iacq.services.core import Core
from iacq.services.phases.logwriter import LogWriter
from iacq.store import logs
from iacq.store.session import DATABASE_UNAVAILABLE, Database, Kind, Transaction
from tests.store.world import World


class Unanswered(Database):
    """Commits, and the answer is lost: as with a connection that was given up."""

    lose_answers = 0

    @contextlib.contextmanager
    def _translating(self, kind: Kind) -> Iterator[Transaction]:
        with super()._translating(kind) as tx:
            yield tx
        if self.lose_answers:
            self.lose_answers -= 1
            raise Unavailable("no answer", code=DATABASE_UNAVAILABLE)


@pytest.fixture
def database(world: World) -> Iterator[Unanswered]:
    with contextlib.closing(Unanswered(world.url)) as made:
        yield made


def stored(world: World, run: Run) -> str:
    return "".join(chunk.text for chunk in world.database.read(logs.read, run.id, phase=Phase.PLAN))


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_what_was_stored_without_an_answer_is_not_stored_again(
    world: World, core: Core, database: Unanswered, lost: int
) -> None:
    world.pod()
    run = world.at(Status.PLANNING)
    threads = ThreadPoolExecutor(max_workers=1)
    writer = LogWriter(dataclasses.replace(core, database=database), threads, run.id, Phase.PLAN, fence=run.fence)
    try:
        writer.write("first")
        writer.flush()
        database.lose_answers = lost
        for line in ("zwei ä€", "three", "four"):
            writer.write(line)
            with contextlib.suppress(Unavailable):
                writer.flush()
        writer.write("last")
        writer.flush()
    finally:
        writer.close()
        threads.shutdown()
    assert stored(world, run) == "first\nzwei ä€\nthree\nfour\nlast\n"


def test_nobody_asks_how_long_a_new_log_is(world: World, core: Core) -> None:
    world.pod()
    run = world.at(Status.PLANNING)
    with ThreadPoolExecutor(max_workers=1) as threads:
        writer = LogWriter(core, threads, run.id, Phase.PLAN, fence=run.fence, first=True)
        for line in ("one", "two"):
            writer.write(line)
            writer.flush()
        writer.close()
    assert stored(world, run) == "one\ntwo\n"


def test_the_note_of_how_far_it_is_can_be_read_by_nobody_else(world: World, core: Core, tmp_path: Path) -> None:
    world.pod()
    run = world.at(Status.PLANNING)
    with ThreadPoolExecutor(max_workers=1) as threads:
        writer = LogWriter(core, threads, run.id, Phase.PLAN, fence=run.fence)
        assert writer.follow_file(tmp_path / "logged") == 0
        writer.write("one")
        writer.note(17)
        writer.flush()
        assert writer.follow_file(tmp_path / "logged") == 17
        writer.close()
    assert stat.S_IMODE((tmp_path / "logged").stat().st_mode) == 0o600
