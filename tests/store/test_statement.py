"""Compare-and-set as data: each word means the same on both databases, whatever was built before."""

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from iacq.domain.run import Run, Status
from iacq.store import runs, statement
from iacq.store.schema import runs as table
from iacq.store.session import Transaction
from iacq.store.statement import LATER, NOW, PAST, SET, TIMESTAMP, After, Condition, Keep, Plus
from tests.store.world import World

_SAME = Condition(table.c.fence == table.c.attempt)


@pytest.fixture
def run(world: World) -> Run:
    return world.enqueue()


def changed(tx: Transaction, run_id: int, seen: dict[str, Any], becomes: dict[str, Any] | None = None) -> int:
    return statement.update(tx, table, {"id": run_id, **seen}, becomes or {"stage": "x"}).rowcount


@pytest.mark.parametrize(
    ("seen", "matches"),
    [
        ({"status": "pending"}, True),
        ({"status": "planning"}, False),
        ({"status": ("pending", "planning")}, True),
        ({"status": ("planning",)}, False),
        ({"owner": None}, True),
        ({"created_ms": None}, False),
        ({"created_ms": SET}, True),
        ({"owner": SET}, False),
        ({"created_ms": PAST}, True),
        ({"created_ms": LATER}, False),
        ({"lease_until": LATER}, False),
        ({"same": _SAME}, True),
        ({"same": _SAME, "priority": 5}, False),
    ],
)
def test_a_row_is_changed_only_as_it_was_seen(world: World, run: Run, seen: dict[str, Any], matches: bool) -> None:
    assert world.do(changed, run.id, seen) == matches


def test_the_same_shape_with_other_values_is_another_question(world: World, run: Run) -> None:
    assert [world.do(changed, run.id, {"priority": number}) for number in (1, 0, 2)] == [0, 1, 0]


def test_what_a_row_becomes(world: World, run: Run) -> None:
    values = {
        "lease_until": After(500),
        "started_ms": Keep(NOW),
        "created_ms": Keep(7),
        "started_at": Keep(TIMESTAMP),
        "fence": Plus(2),
        "owner": Keep("me"),
        "message": None,
    }
    world.clock.advance(3)
    now = world.clock.now_ms()
    assert world.do(changed, run.id, {}, values) == 1
    found = world.run(run.id)
    assert (found.lease_until, found.started_at, found.created_at) == (now + 500, now, now - 3000)
    assert (found.fence, found.owner) == (2, "me")
    world.clock.advance(1)
    world.do(changed, run.id, {}, values)
    again = world.run(run.id)
    assert (again.started_at, again.lease_until, again.fence) == (now, now + 1500, 4)
    written = world.do(_started_at, run.id).replace(tzinfo=dt.UTC)
    assert written == dt.datetime.fromtimestamp(now / 1000, dt.UTC)


def _started_at(tx: Transaction, run_id: int) -> Any:
    return tx.execute(sa.select(table.c.started_at).where(table.c.id == run_id)).scalar()


def test_returning_gives_the_row_as_it_is_now(world: World, run: Run) -> None:
    assert world.do(runs.change, run.id, {"status": Status.PENDING}, stage="y").stage == "y"
