"""A thousand runs of a hundred workspaces on twelve slots; what must be true of the rows is looked at all the while."""

import contextlib
import random
from collections.abc import Iterator

from iacq.domain.run import Status
from iacq.settings import load
from iacq.store.session import Database
from tests import invariants
from tests.bench.figure import Figure
from tests.bench.spy import write_no_op
from tests.bench.system import Space, System
from tests.waiting import wait_until

_WORKSPACES = 100
_RUNS = 1000
_LONGEST = 1800
"""Seconds that all of it may take."""


def measure(space: Space) -> Iterator[Figure]:
    with space.system(pods=4, terraform=str(write_no_op(space.directory))) as system:
        names = [f"crowd-{number}" for number in range(_WORKSPACES)]
        for name in names:
            system.workspace(name, {"main.tf": ""}, auto_apply=True)
        order = names * (_RUNS // _WORKSPACES)
        random.Random(1).shuffle(order)
        ids = {system.client.enqueue(name, "plan_and_apply").id for name in order}
        broken = _watch(system)
        ended = [run for run in system.client.list(limit=_RUNS) if run.id in ids]
    applied = sum(run.status is Status.APPLIED for run in ended)
    took = max(run.completed_at or 0 for run in ended) - min(run.created_at for run in ended)
    yield Figure(name="crowd_runs_applied", value=applied, unit="runs", goal=_RUNS, at_least=True)
    yield Figure(name="crowd_broken_invariants", value=len(broken), unit="rows", goal=0)
    yield Figure(name="crowd_runs_per_second", value=len(ended) / took * 1000, unit="1/s", goal=None)


def _watch(system: System) -> set[str]:
    """Wait until every run has ended; returns what was wrong meanwhile."""
    found: set[str] = set()
    url = load(system.environment, system.home).sqlalchemy_url
    with contextlib.closing(Database(url, pool_size=1)) as database:

        def over() -> bool:
            found.update(database.read_at_once(invariants.broken))
            return not system.client.queue() and all(slot.usable for slot in system.client.slots())

        wait_until(over, _LONGEST, "every run has ended")
    return found
