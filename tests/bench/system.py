"""The whole system for a benchmark: `iacq up` in a directory of its own, and a long-lived client of it."""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iacq import settings as settings_module
from iacq.client import Client
from iacq.domain.run import Run, Status
from iacq.domain.transitions import Cause
from iacq.domain.workspace import DEFAULT_POOL, Workspace
from iacq.services.pools import PoolChange
from iacq.store import migrate
from tests import servers
from tests.bench.spy import Spy
from tests.waiting import wait_until

SLOTS = 3
"""Slots of one pod of `iacq up`."""

_FOREIGN = ("IACQ_", "CELERY_", "TF_", "PG", "AWS_")


@dataclass(frozen=True, kw_only=True)
class System:
    """One running iacq."""

    home: Path
    client: Client
    spy: Spy
    up: int  # process id of `iacq up`
    environment: dict[str, str]  # to call the command line with

    def workspace(self, name: str, files: dict[str, str], *, auto_apply: bool = False) -> None:
        """Create a workspace whose source has these files."""
        source = self.home / "sources" / name
        source.mkdir(parents=True)
        for file, text in files.items():
            (source / file).write_text(text)
        self.client.create_workspace(Workspace(name=name, pool="default", path=str(source), auto_apply=auto_apply))

    def planned(self, workspace: str, **variables: object) -> Run:
        """Plan, and return the run that waits for its confirmation in its slot."""
        run = self.client.enqueue(workspace, "plan_and_apply", variables=variables)
        return self.wait(run, Status.APPLY_PENDING)

    def applied(self, run: Run) -> Run:
        """Confirm a planned run, and return it applied."""
        self.client.confirm(run.id, plan_hash=run.plan_hash or "")
        return self.wait(run, Status.APPLIED)

    def wait(self, run: Run, status: Status) -> Run:
        """Wait for one state of a run; any other end is an error."""
        found = self.client.wait(run.id, until={status}, timeout=120)
        if found.status is not status:
            raise RuntimeError(f"run {run.id} is {found.status}: {found.error_text}")
        return found

    def phase_ms(self, run: Run, begin: Cause) -> int:
        """Return the time from the last event `begin` to the end of that phase, by the database's clock."""
        events = list(self.client.events(run.id))
        end = max(event.at for event in events if event.cause is Cause.FINISHED)
        return end - max(event.at for event in events if event.cause is begin)


@dataclass(frozen=True, kw_only=True)
class Space:
    """Where benchmarks run."""

    directory: Path
    postgres: str | None  # URL of a fresh database; None: SQLite

    @contextlib.contextmanager
    def system(self, *, pods: int = 1, **settings: str) -> Iterator[System]:
        """Run iacq, with a no-op terraform unless a setting says otherwise. settings: without their prefix."""
        home = Path(tempfile.mkdtemp(prefix="iacq-", dir=self.directory))
        spy = Spy(home)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's second command finds compiled modules
        environment |= {"IACQ_HOME": str(home), "IACQ_TERRAFORM": str(spy.program), "HOME": str(home)}
        environment |= {f"IACQ_{name.upper()}": value for name, value in settings.items()}
        if self.postgres:
            environment["IACQ_DATABASE_URL"] = self.postgres
        with _up(environment, home, pods) as up:
            client = Client.from_env(settings_module.load(environment, home))
            wait_until(lambda: up.poll() is not None or _open_slots(client) >= SLOTS, 60, "iacq is up")
            client.update_pool(DEFAULT_POOL, PoolChange(min_pods=pods))  # it has all of them before it needs them
            wait_until(lambda: up.poll() is not None or _open_slots(client) == SLOTS * pods, 60, "every pod is up")
            client.warm()
            yield System(home=home, client=client, spy=spy, up=up.pid, environment=environment)


def _open_slots(client: Client) -> int:
    with contextlib.suppress(Exception):  # while it starts, there is no database yet
        return sum(slot.usable for slot in client.slots())
    return 0


@contextlib.contextmanager
def _up(environment: dict[str, str], home: Path, pods: int) -> Iterator["subprocess.Popen[bytes]"]:
    log = home / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "iacq.cli", "up", "--pods", str(pods)],
            cwd=home,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
        if process.poll() is not None:
            raise RuntimeError(f"iacq up ended:\n{log.read_text()}")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@contextlib.contextmanager
def spaces(*, postgres: bool) -> Iterator[Space]:
    """Give a directory, and with `postgres` a durable server with a fresh database in it."""
    directory = Path(tempfile.mkdtemp(prefix="iacq-bench-"))
    space = Space(directory=directory, postgres=None)
    try:
        if not postgres:
            yield space
            return
        with servers.Postgres(migrate.upgrade, durable=True) as server, server.database() as url:
            yield dataclasses.replace(space, postgres=url)
    finally:
        shutil.rmtree(directory)
