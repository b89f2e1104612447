"""Rows that somebody changed by hand: the others must not suffer (docs/failures.md 37)."""

import dataclasses
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from iacq.domain.queueing import Candidate
from iacq.domain.run import Run, Status
from iacq.errors import IacqError
from iacq.services import cleaning, dispatching, recovering, views
from iacq.services.core import Core
from iacq.services.recovering import LeaseWatch
from iacq.store import outbox, runs, slots, workspaces
from iacq.store.session import Database
from tests.store.world import World

RUN_COLUMNS: Mapping[str, str] = {
    "status": "'explode'",
    "task_type": "NULL",
    "attempt": "NULL",
    "tries": "NULL",
    "created_ms": "NULL",
    "priority": "NULL",
    "pool": "NULL",
    "requested_by": "NULL",
    "start_tier": "'lukewarm'",
}
"""What makes a run unreadable."""
HARMLESS = {
    "changes": ["null", "[1]", '{"add": "x"}'],
    "timings": ["null", "[]", '{"plan": 7}'],
    "fingerprint": ["null", "3"],
}
"""JSON of another shape: the run goes on without it."""


def write(world: World, table: str, column: str, value: str, where: str) -> None:
    """Change one column as somebody with a database shell would: no constraint stops them."""
    statement = sa.text(f"UPDATE {table} SET {column} = {value} WHERE {where}")
    with world.database.engine.connect() as connection, connection.begin():
        if world.database.is_sqlite:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            connection.execute(statement)
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
            return
        constraint = "ck_workspace_tasks_type" if column == "task_type" else "ck_workspace_tasks_status"
        if table == "workspace_tasks" and column in ("status", "task_type"):
            asked = sa.text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name")
            found = str(connection.execute(asked, {"name": constraint}).scalar()).removesuffix(" NOT VALID")
            connection.execute(sa.text(f"ALTER TABLE workspace_tasks DROP CONSTRAINT {constraint}"))
            connection.execute(statement)
            connection.execute(sa.text(f"ALTER TABLE workspace_tasks ADD CONSTRAINT {constraint} {found} NOT VALID"))
            return
        connection.execute(statement)


def every_job(core: Core) -> None:
    """Do what beat asks for, and what people look at."""
    dispatching.dispatch(core)
    dispatching.resend(core)
    recovering.recover(core, LeaseWatch())
    recovering.check_agents(core)
    recovering.expire_plans(core)
    views.queue(core)
    core.database.read(runs.listed)
    core.database.read(slots.listed)
    core.database.read(workspaces.listed)


STATES = [Status.PENDING, Status.PLAN_QUEUED, Status.APPLY_PENDING, Status.CONFIRMED, Status.APPLYING]


@pytest.mark.parametrize("column", RUN_COLUMNS)
def test_broken_runs_stop_nobody_else(world: World, core: Core, column: str, caplog: pytest.LogCaptureFixture) -> None:
    world.pod(slots_of_pod=6)
    broken = [world.at(status, workspace=f"w{at}", slot_id=at) for at, status in enumerate(STATES, 1)]
    for run in broken:
        write(world, "workspace_tasks", column, RUN_COLUMNS[column], f"id = {run.id}")
    other = world.at(Status.PENDING, workspace="other")
    with caplog.at_level(logging.WARNING):
        every_job(core)
        assert world.run(other.id).status is Status.PLAN_QUEUED
        world.clock.advance(3600)
        every_job(core)
    assert [run.id for run in core.database.read(runs.listed)] == [other.id]
    for run in broken:
        with pytest.raises(IacqError, match="cannot be read") as error:
            core.database.read(runs.get, run.id)
        assert error.value.code == "broken_row"
    said = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(said) <= 3 * len(broken), "a line for each look"


@pytest.mark.parametrize(("column", "value"), [(name, value) for name, values in HARMLESS.items() for value in values])
def test_what_only_explains_may_be_broken(world: World, core: Core, column: str, value: str) -> None:
    world.pod()
    run = world.at(Status.CONFIRMED)
    write(world, "workspace_tasks", column, f"'{value}'", f"id = {run.id}")
    every_job(core)
    read = world.run(run.id)
    assert read.status is Status.APPLY_QUEUED
    assert json.dumps(views.run_to_json(read, None))


def test_json_that_is_none_stops_nobody_else(world: World, core: Core) -> None:
    if not world.database.is_sqlite:
        return  # PostgreSQL checks it
    world.pod()
    broken = world.at(Status.PENDING)
    write(world, "workspace_tasks", "timings", "'{'", f"id = {broken.id}")
    other = world.at(Status.PENDING, workspace="other")
    every_job(core)
    assert world.run(other.id).status is Status.PLAN_QUEUED


@pytest.mark.parametrize("column", ["variables", "environment", "var_files", "secret_names", "secret_environment"])
def test_a_broken_workspace_stops_nobody_else(world: World, core: Core, column: str) -> None:
    world.pod()
    waits = world.at(Status.PENDING)
    write(world, "iacq_workspaces", column, "'null'", f"name = '{waits.workspace}'")
    other = world.at(Status.PENDING, workspace="other")
    every_job(core)
    assert world.run(other.id).status is Status.PLAN_QUEUED
    assert [workspace.name for workspace in core.database.read(workspaces.listed)] == ["other"]
    with pytest.raises(IacqError, match=f"{column} is not"):
        core.database.read(workspaces.get, waits.workspace)


def test_a_broken_workspace_can_be_deleted(world: World, core: Core) -> None:
    world.workspace("spoilt")
    write(world, "iacq_workspaces", "variables", "'null'", "name = 'spoilt'")
    core.database.run(workspaces.delete, "spoilt", force=False)
    assert core.database.read(workspaces.find, "spoilt") is None


def test_a_broken_slot_and_bell_stop_nobody_else(world: World, core: Core) -> None:
    world.pod()
    rung, lost = world.at(Status.PLAN_QUEUED), world.at(Status.PLAN_QUEUED, workspace="other", slot_id=2)
    write(world, "iacq_outbox", "phase", "'explode'", f"run_id = {lost.id}")
    world.pod("pod2")
    write(world, "iacq_slots", "closed", "'bogus'", "pod_name = 'pod2' AND slot_id = 1")
    waits = world.at(Status.PENDING, workspace="third")
    world.clock.advance(20)
    assert [bell.run_id for bell in core.database.run(outbox.take_due)] == [rung.id]
    every_job(core)
    assert world.run(waits.id).status is Status.PLAN_QUEUED
    assert "2" in (world.run(waits.id).queue or "")


def test_the_directory_of_a_broken_run_is_kept(world: World, core: Core) -> None:
    world.pod()
    run = world.at(Status.APPLY_PENDING)
    write(world, "workspace_tasks", "attempt", "NULL", f"id = {run.id}")
    directory = cleaning.RunDirectory(run_id=run.id, fence=1, place=("pod1", 1))
    assert not cleaning._removable(core, directory, "pod1-boot1")


class FailingFor(Database):
    """A database in which every step with one run fails."""

    def __init__(self, world: World, run: Run) -> None:
        super().__init__(world.url, clock=world.clock.now_ms)
        self.run_id = run.id

    def attempt(self, step: Any, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(one, Run | Candidate) and one.id == self.run_id for one in args):
            raise RuntimeError("a mistake")
        return super().attempt(step, *args, **kwargs)


def test_one_item_of_a_job_does_not_stop_the_others(world: World, core: Core) -> None:
    """Whatever goes wrong with it, and whoever made the mistake."""
    world.pod(slots_of_pod=2)
    first, second = (world.at(Status.PENDING, workspace=name) for name in ("one", "two"))
    failing = FailingFor(world, first)
    every_job(dataclasses.replace(core, database=failing))
    assert world.run(second.id).status is Status.PLAN_QUEUED
    assert world.run(first.id).status is Status.PENDING
    failing.close()
