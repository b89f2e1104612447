"""What somebody who watches is told."""

from typing import Any

import pytest
import sqlalchemy as sa

from iacq.domain.run import Status
from iacq.services.core import Core
from iacq.services.news import News
from iacq.store import counts, happened
from iacq.store.schema import events
from tests.store.world import World

S = Status


def told(news: News) -> list[tuple[str, Status]]:
    return [(one.workspace, one.event.target) for one in news.fresh()]


def test_each_change_is_told_once_and_in_order(world: World, core: Core) -> None:
    world.pod()
    world.at(S.PLANNING, workspace="before")
    news = News(core)
    assert told(news) == []
    world.at(S.PLAN_QUEUED, workspace="network", slot_id=2)
    [enqueued, queued] = news.fresh()
    assert (enqueued.event.source, enqueued.event.target) == (None, S.PENDING)
    assert (queued.workspace, queued.queue, queued.event.target) == ("network", "pod1.2", S.PLAN_QUEUED)
    assert told(news) == []
    world.clock.advance(60)
    assert told(news) == []
    world.enqueue("later")
    assert told(news) == [("later", S.PENDING)]
    assert world.database.read(counts.unended_runs) == 3


@pytest.mark.parametrize("seconds", [0, 2.9])
def test_who_commits_late_is_told_late(world: World, core: Core, seconds: float) -> None:
    """A number is given when a row is written, and seen when it is committed."""
    world.workspace()
    run = world.enqueue()
    with world.database.transaction() as tx:
        number = tx.execute(sa.select(sa.func.max(events.c.id))).scalar_one()
    news = News(core)
    other = {"run_id": run.id, "at_ms": 1, "cause": "dispatched"}
    with world.database.transaction() as tx:
        tx.execute(events.insert().values(id=number + 9, target=S.PLAN_QUEUED, **other))
    assert told(news) == [("network", S.PLAN_QUEUED)]
    world.clock.advance(seconds)
    told(news)
    with world.database.transaction() as tx:
        tx.execute(events.insert().values(id=number + 8, target=S.PLANNING, **other))
    assert told(news) == [("network", S.PLANNING)]
    assert told(news) == []


def test_a_look_does_not_read_what_waits(world: World, core: Core) -> None:
    news = News(core)
    for _ in range(30):
        world.enqueue()
    assert len(told(news)) == 30
    world.clock.advance(4)
    told(news)
    world.clock.advance(4)
    told(news)
    asked: list[Any] = []
    sa.event.listen(core.database.engine, "after_cursor_execute", lambda *given: asked.append(given[3]))
    assert told(news) == []
    last = world.database.read(happened.latest)
    assert str(last) in str(asked), "only what comes behind the last one is asked for"
