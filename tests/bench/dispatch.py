"""A decision of the dispatcher, with many runs waiting, more that have ended, and a thousand pods."""

import statistics
import time
from collections.abc import Iterator

import sqlalchemy as sa

from iacq.domain.run import RunType, Status
from iacq.services import dispatching
from iacq.services.dispatching import Remembered
from iacq.store import workspaces
from iacq.store.schema import outbox, runs, slots
from iacq.store.session import Database, Transaction
from iacq.testing.core import make_core
from tests import samples
from tests.bench import fleets
from tests.bench.figure import Figure
from tests.bench.system import Space

_PODS = 1000
_ENDED = 20_000
_DECISIONS = 30
_BACKLOGS = (1_000, 10_000, 40_000)
_SHAPES = {
    # name: workspaces, what waits in them
    "deep": (100, RunType.PLAN_AND_APPLY),
    "wide": (2_000, RunType.PLAN_AND_APPLY),
    "plans": (100, RunType.PLAN),
}


def measure(space: Space) -> Iterator[Figure]:
    kind = "postgresql" if space.postgres else "sqlite"
    database = fleets.prepare(space, "dispatch")
    with database.transaction() as tx:
        fleets.add_pods(tx, _PODS)
        for number in range(max(number for number, _ in _SHAPES.values())):
            workspaces.insert(tx, samples.workspace(f"w{number}"), secrets=None)
        fleets.add_ended(tx, _ENDED, workspaces=100)
    for backlog in _BACKLOGS:
        for shape, (number, run_type) in _SHAPES.items():
            with database.transaction() as tx:
                fleets.add_waiting(tx, backlog, workspaces=number, run_type=run_type)
            _settle(database)
            one, many = _decide(space, database)
            goal = 10 if backlog <= 10_000 else None
            yield Figure(name=f"dispatch_{kind}_{shape}_{backlog}_alone", value=one, unit="ms", goal=goal)
            yield Figure(name=f"dispatch_{kind}_{shape}_{backlog}_of_many", value=many, unit="ms", goal=goal)
            database.run(_clear)
    database.close()


def _decide(space: Space, database: Database) -> tuple[float, float]:
    """Return the ms of a decision if one slot is free at a time, and if many are."""
    core = make_core(database.url, space.directory)
    remembered = Remembered()
    database.run(_close_all)
    took = []
    for number in range(_DECISIONS):
        database.run(_free, number)
        began = time.perf_counter()
        if dispatching.dispatch(core, remembered) != 1:
            raise RuntimeError("nothing was dispatched to the free slot")
        took.append((time.perf_counter() - began) * 1000)
    database.run(_free, *range(_DECISIONS, 3 * _DECISIONS))
    began = time.perf_counter()
    dispatched = dispatching.dispatch(core, remembered)
    many = (time.perf_counter() - began) * 1000 / dispatched
    core.database.close()
    return statistics.median(took), many


def _settle(database: Database) -> None:
    """Let PostgreSQL count its rows, as autovacuum does; SQLite never does by itself."""
    if not database.is_sqlite:
        database.run(lambda tx: tx.execute(sa.text("ANALYZE")))


def _close_all(tx: Transaction) -> None:
    """Offer no slot."""
    tx.execute(slots.update().values(closed="not_answering"))


def _free(tx: Transaction, *pods: int) -> None:
    names = [fleets.pod_name(number) for number in pods]
    tx.execute(slots.update().where(slots.c.pod_name.in_(names), slots.c.slot_id == 1).values(closed=None))


def _clear(tx: Transaction) -> None:
    tx.execute(outbox.delete())
    tx.execute(slots.update().values(status="idle", run_id=None, task_type=None, closed=None))
    tx.execute(sa.text("DELETE FROM iacq_events"))
    tx.execute(runs.delete().where(runs.c.status != Status.APPLIED))
