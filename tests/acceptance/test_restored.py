"""The database of a real system is replaced by a backup while much has happened since."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from iacq.domain.run import Status
from iacq.errors import Conflict
from iacq.store.protocol.restoring import STEP
from tests.acceptance import configurations
from tests.acceptance.system import POD, System
from tests.waiting import wait_until


def back_up(system: System, file: Path) -> None:
    with contextlib.closing(system.database.engine.raw_connection()) as connection:
        connection.cursor().execute("VACUUM INTO ?", (str(file),))


def restore(system: System, file: Path) -> None:
    """Everything stops, however it can, and the file of before takes the place of the database."""
    system.stop(POD)
    for name in list(system.programs):
        system.kill(name)
    system.database.close()
    there = Path(sa.engine.make_url(system.settings.sqlalchemy_url).database)
    for other in there.parent.glob(f"{there.name}*"):
        other.unlink()
    shutil.copy(file, there)


def check(system: System) -> dict[str, Any]:
    """Call the command until the system has been silent for long enough."""
    words = [sys.executable, "-P", "-m", "iacq.cli", "db", "check", "--restored", "--json"]

    def succeed() -> str | None:
        done = subprocess.run(
            words, env=system.environment, cwd=system.home, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 4), done.stderr
        return done.stdout if done.returncode == 0 else None

    found: dict[str, Any] = json.loads(wait_until(succeed, 30, "the system counts as stopped") or "")
    return found


def test_what_was_applied_after_the_backup_is_not_applied_again(make_system: Callable[..., System], tmp_path: Path):
    system = make_system()
    for name in ("confirmed", "read", "fresh"):
        system.workspace(name, configurations.write(tmp_path / name, configurations.COUNTED))
    confirmed, read = system.plan("confirmed"), system.plan("read")
    system.client.lock_workspace("confirmed", reason="so that it waits")
    system.client.lock_workspace("fresh", reason="so that it waits")
    system.confirm(confirmed)
    fresh = system.client.enqueue("fresh", "plan_and_apply", auto_apply=True)
    back_up(system, tmp_path / "backup.db")

    for name in ("confirmed", "fresh"):
        system.client.unlock_workspace(name)
    system.confirm(read)
    for run in (confirmed, read, fresh):
        assert system.wait(run).status is Status.APPLIED
    unknown = system.client.enqueue("read", "plan")
    applies = len(system.spy.calls("apply"))
    assert applies == 3

    restore(system, tmp_path / "backup.db")
    found = check(system)
    assert {run["id"]: run["is"] for run in found["runs"]} == {
        confirmed.id: Status.APPLY_INTERRUPTED,
        read.id: Status.DISCARDED,
        fresh.id: Status.PENDING,
    }
    system.start_control()
    system.start_agent()
    system.wait_ready()
    for name in ("confirmed", "fresh"):
        system.client.unlock_workspace(name)
    planned = system.wait(fresh, Status.APPLY_PENDING)
    assert planned.status is Status.APPLY_PENDING, "it is not applied without being asked any more"
    assert system.client.get(confirmed.id).status is Status.APPLY_INTERRUPTED
    assert len(system.spy.calls("apply")) == applies

    for run in (confirmed, read):
        with contextlib.suppress(Conflict):  # an interrupted one is answered with its first confirmation
            system.confirm(run)
    system.client.resolve(confirmed.id, applied=True, comment="it is all there")
    again = system.client.retry(confirmed.id)
    assert again.id > STEP > unknown.id > fresh.id
    system.wait(again, Status.APPLY_PENDING)
    assert len(system.spy.calls("apply")) == applies
    system.confirm(system.client.get(again.id))
    assert system.wait(again).status is Status.APPLIED
    assert len(system.spy.calls("apply")) == applies + 1
