"""What is asked again and again does not read every run that there ever was."""

import contextlib
import re
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from iacq.domain import transitions
from iacq.domain.run import Phase, Status
from iacq.services import views
from iacq.store import counts, demand, happened, logs, queue, retention, runs, startable
from iacq.store.protocol import recovering, warming
from iacq.store.session import Database, Transaction

QUESTIONS: dict[str, Callable[[Transaction], object]] = {
    "what has not ended": lambda tx: runs.listed(tx, statuses=set(Status) - transitions.ENDED),
    "the runs of a workspace": lambda tx: runs.listed(tx, workspace="network", limit=20),
    "what is unconfirmed": lambda tx: runs.listed(tx, statuses=[Status.APPLY_PENDING]),
    "what holds a workspace": lambda tx: queue.active_of(tx, "network"),
    "what a workspace does next": lambda tx: queue.first_pending_of(tx, "network", "default"),
    "what could start": lambda tx: startable.find(tx, ["default"]),
    "what is confirmed": lambda tx: queue.confirmed(tx, ["default"]),
    "what runs, by workspace": queue.running_counts,
    "what a pool needs": lambda tx: demand.count(tx, "default", at_most=10, warmups=3),
    "pools without a free slot": demand.short_pools,
    "why each run waits": views.explain_all,
    "how many have not ended": counts.unended_runs,
    "what happened": lambda tx: happened.since(tx, 7),
    "whom a freeze asked to stop": runs.asked_to_stop,
    "expired leases": recovering.expired_leases,
    "warm-ups to forget": lambda tx: warming.reset(tx, "default"),
    "warm-ups to begin": lambda tx: warming.unprepared(tx, retries=3),
    "warm-ups to end": warming.overdue,
    "warm-ups that nobody took": warming.unclaimed,
}


def plans(database: Database, question: Callable[[Transaction], object]) -> dict[str, list[str]]:
    """Return the plan of each statement that a question consists of."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        database.run(question)
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)
    with database.transaction(reading=True) as tx:
        return {
            statement: [
                row.detail for row in tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
            for statement, parameters in asked
            if statement.lstrip().startswith(("SELECT", "WITH", "UPDATE", "DELETE"))
        }


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_table_of_runs_or_events_is_scanned(sqlite_world, name):
    found = plans(sqlite_world.database, QUESTIONS[name])
    assert found
    for statement, steps in found.items():
        for step in steps:
            assert not re.match(r"SCAN (workspace_tasks|iacq_events)\b", step), f"{step}: {statement}"
            assert " idx_workspace_tasks_warmup_agent " not in step, f"all that ended are in there: {statement}"
            assert " ix_iacq_workspace " not in step or name == "the runs of a workspace", f"{step}: {statement}"


def test_a_log_is_read_on_from_its_offset(sqlite_world):
    """A long one is read page by page: each page costs the same."""
    found = plans(sqlite_world.database, lambda tx: logs.read(tx, 1, phase=Phase.APPLY, offset=1_000_000))
    (steps,) = found.values()
    assert re.search(r"SEARCH iacq_logs .*\(run_id=\? AND phase=\? AND start>\?\)", steps[0]), steps


def test_the_versions_of_all_states_are_counted_once(sqlite_world):
    """There are a hundred of each workspace: compared one by one with its newest, that takes a fifth of a second."""
    found = plans(sqlite_world.database, lambda tx: retention.remove_states(tx, keep=1, limit=100))
    (steps,) = found.values()
    assert not [step for step in steps if step.startswith("CORRELATED")], steps


def test_old_runs_are_compared_with_one_reading_of_the_clock_on_postgresql(postgres_world):
    """Its clock differs from row to row: compared with that, no index helps, and each run that has ended is read."""
    with contextlib.closing(Database(postgres_world.url)) as database, database.transaction() as tx:  # the real clock
        asked = retention._ended(tx, 1000).compile(database.engine, compile_kwargs={"literal_binds": True})
        plan = [row[0] for row in tx.connection.exec_driver_sql(f"EXPLAIN {asked}")]
    compared = [line for line in plan if "completed_ms <" in line]
    assert compared, plan
    assert not any("clock_timestamp" in line for line in compared), plan
