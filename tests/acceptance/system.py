"""One iacq of separate processes, as on a server: broker, control worker, beat and pods, with short times."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from iacq.adapters.broker.embedded import EmbeddedBroker
from iacq.adapters.programs import child_process
from iacq.client import Client
from iacq.domain import transitions
from iacq.domain.pool import PoolPolicy
from iacq.domain.run import Run, RunType, Status
from iacq.domain.slot import PodStatus
from iacq.domain.terraform_events import strip_colours
from iacq.domain.workspace import Workspace
from iacq.errors import Conflict, IacqError
from iacq.services import freeze_changes
from iacq.settings import load
from iacq.store import pools
from tests import processes
from tests.acceptance import fleet
from tests.acceptance.fleet import Fleet
from tests.acceptance.spy import Spy
from tests.waiting import wait_until

POD = "local-1"
SETTINGS = {
    "POD_RUNTIME": "none",
    "MAX_SOURCE": "1MiB",
    "GIT_PROTOCOLS": "file,http",
    "LEASE": "3s",
    "RENEW": "1s",
    "LEASE_CONFIRM": "1s",
    "HEARTBEAT": "500ms",
    "AGENT_OFFLINE": "4s",
    "CLAIM_TIMEOUT": "5s",
    "WARMUP_RETRIES": "0",  # else every test in which a slot is lost would race with them; test_warm_up has them
    "CANCEL_GRACE_PLAN": "1s",
    "CANCEL_GRACE_APPLY": "3s",
    "STOP_GRACE": "16s",  # of which a running phase has half
}


class System:
    """A context manager; it leaves no process behind. `settings` are names without the prefix `IACQ_`."""

    def __init__(self, home: Path, database_url: str, *, slots: int = 3, **settings: str) -> None:
        home.mkdir(mode=0o700, parents=True)
        self.home = home
        self.slots = slots
        self.spy = Spy(home / "spy")
        self.broker = EmbeddedBroker(load({"IACQ_HOME": str(home / "b")}, home))
        values = {
            **SETTINGS,
            "HOME": str(home),
            "DATABASE_URL": database_url,
            "BROKER_URL": f"redis+socket://{self.broker.socket}",
            "TERRAFORM": str(self.spy.path),
            "ACTOR": "tester",
            **settings,
        }
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **{f"IACQ_{name}": value for name, value in values.items()},
        }
        self.settings = load(self.environment, home)
        self.client = Client.from_env(self.settings)
        self.programs: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self) -> None:
        self.broker.start()
        self.database.run(pools.set_policy, "default", PoolPolicy(max_pods=1, slots_per_pod=self.slots))
        self.start_control()
        self.start_agent()
        self.wait_ready()

    def __exit__(self, *_: object) -> None:
        pids = {pid for name in self.programs for pid in self.family(name)}
        for name in list(self.programs):
            self.kill(name)
        fleet.kill(*pids, *(found.pid for found in processes.working_in(self.home)))
        self.broker.stop()
        self.database.close()

    # its programs

    @property
    def database(self) -> Any:
        return self.client._core.database

    def start(self, name: str, *arguments: str, **settings: str) -> None:
        more = {f"IACQ_{key}": value for key, value in settings.items()}
        self.programs[name] = child_process.start(
            [sys.executable, *arguments],
            environment={**self.environment, **more},
            log=self.home / "log" / f"{name}.log",
        )

    def start_control(self) -> None:
        """Start the control worker and beat, whichever does not run."""
        for name in ("control", "beat"):
            if name not in self.programs:
                self.start_one_of(name)

    def start_one_of(self, kind: str, *, number: int = 1) -> str:
        """Start a control worker or a beat; returns the name of the program."""
        name = kind if number == 1 else f"{kind}-{number}"
        celery = ("-m", "celery", "-A", "workers.control")
        arguments = {
            "control": ("-m", "workers.control"),
            "beat": (*celery, "beat", "--scheduler", "celery.beat:Scheduler", "--pidfile="),
        }
        self.start(name, *arguments[kind])
        return name

    def start_agent(self, name: str = POD, *, slots: int | None = None, **settings: str) -> None:
        arguments = ("--pod-name", name, "--slots", str(slots or self.slots))
        self.start(name, "-m", "workers.agent", *arguments, **settings)

    def fleet(self, name: str = POD) -> Fleet:
        return Fleet(self.programs[name].pid, self.settings.work_root / "pods" / name)

    def family(self, name: str) -> list[int]:
        """Return the processes of a program."""
        return self.fleet(name).family() if self.programs[name].poll() is None else []

    def kill(self, name: str) -> None:
        """SIGKILL this program (only it: an agent's children live on, or die by themselves)."""
        program = self.programs.pop(name)
        program.send_signal(signal.SIGCONT)
        program.kill()
        program.wait(60)

    def stop(self, name: str, timeout: float = 90) -> int:
        """SIGTERM this program, and see that nothing of it is left; returns its exit code."""
        pids = self.family(name)
        program = self.programs.pop(name)
        program.terminate()
        code = program.wait(timeout)
        wait_until(lambda: not any(processes.is_alive(pid) for pid in pids), 5, f"nothing is left of {name}")
        return code

    @contextlib.contextmanager
    def suspended(self, *pids: int) -> Iterator[None]:
        """Stop these processes, as in a virtual machine that is suspended: outside a transaction, as nearly always.

        One that is stopped within a transaction keeps everybody out of SQLite until it goes on.
        """
        try:
            fleet.send(signal.SIGSTOP, pids)
            while self.database.is_sqlite and not self._can_be_written():
                fleet.send(signal.SIGCONT, pids)
                wait_until(self._can_be_written, 30, "the transaction ends")  # on a busy machine that needs a moment
                fleet.send(signal.SIGSTOP, pids)
            yield
        finally:
            fleet.send(signal.SIGCONT, pids)

    def _can_be_written(self) -> bool:
        # In another process: closing a file of SQLite takes all locks of a process with it.
        attempt = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=1).execute('BEGIN IMMEDIATE')"
        path = self.settings.database_url.removeprefix("sqlite:///")
        done = subprocess.run([sys.executable, "-I", "-S", "-c", attempt, path], check=False, stderr=subprocess.DEVNULL)
        return done.returncode == 0

    def ring(self, task: str) -> None:
        """Let a control worker do one of its jobs now instead of at beat's next turn."""
        self.client._core.ring_control(task)

    def wait_ready(self) -> None:
        """Wait until every slot of every started pod is idle and open, and control and beat live."""
        wait_until(self._is_ready, 30, "the system is ready")

    def start_missing(self) -> None:
        """Start what a test has ended."""
        self.start_control()
        if POD not in self.programs:
            self.start_agent()

    def _is_ready(self) -> bool:
        names = {"control", "beat"} - {name for name, one in self.programs.items() if one.poll() is None}
        found = self.client.slots()
        online = {pod.name: pod.agent_id for pod in self.client.pods() if pod.status == PodStatus.ONLINE}
        return (
            not names
            and len(found) == self.slots
            and all(slot.usable and online.get(slot.pod_name) == slot.agent_id for slot in found)
            and self.client.control_seen()
        )

    def tidy(self) -> None:
        """End every run, and wait until the system is as fresh."""
        self.spy.restore()
        self.start_missing()
        for shown in self.client.freezes():
            for window in shown.pool.freezes.windows:
                self.client.remove_freeze_window(shown.pool.pool, window.name)
            if freeze_changes.is_frozen_by_hand(shown.pool):
                self.client.lift_freeze(shown.pool.pool, reason="the test is over")
        for run in self.client.list(status=set(Status) - transitions.ENDED, limit=None):
            try:
                if run.status is Status.APPLY_INTERRUPTED:
                    self.client.resolve(run.id, applied=False, comment="the test is over", force=True)
                else:
                    self.client.cancel(run.id, force=True)
            except Conflict:
                continue
        self.wait_ready()
        for workspace in self.client.workspaces():
            self.client.delete_workspace(workspace.name, force=True)

    # runs

    def workspace(self, name: str, path: Path | None = None, **fields: Any) -> Workspace:
        """Create a workspace of a directory; with `git` or `archive` of that."""
        secrets = {name: fields.pop(name, None) for name in ("secret_variables", "secret_environment")}
        place = {} if path is None else {"path": str(path)}
        made = Workspace(name=name, pool="default", auto_apply=False, **place, **fields)
        return self.client.create_workspace(made, **secrets)

    def plan(self, workspace: str, run_type: str = RunType.PLAN_AND_APPLY, **options: Any) -> Run:
        """Enqueue a run and wait until it waits for its confirmation, or has ended."""
        run = self.client.enqueue(workspace, run_type, **options)
        return self.wait(run, Status.APPLY_PENDING)

    def confirm(self, run: Run) -> Run:
        assert run.plan_hash, f"{run.status}: {run.error_text}"
        return self.client.confirm(run.id, plan_hash=run.plan_hash)

    def apply(self, workspace: str, run_type: str = RunType.PLAN_AND_APPLY, **options: Any) -> Run:
        """Plan, confirm, and wait for the end."""
        run = self.plan(workspace, run_type, **options)
        self.confirm(run)
        return self.wait(run)

    def wait(self, run: Run, *until: Status, timeout: float = 120) -> Run:
        return self.client.wait(run.id, until=until, timeout=timeout)

    def until(self, run: Run, condition: Callable[[Run], bool], what: str, timeout: float = 30) -> Run:
        """Wait until a run looks like this."""
        wait_until(lambda: condition(self.client.get(run.id)), timeout, what)
        return self.client.get(run.id)

    def log(self, run: Run, phase: str | None = None) -> str:
        """Return a run's log, without colours."""
        return strip_colours("\n".join(line.text for line in self.client.logs(run.id, phase=phase)))

    def history(self, run: Run) -> list[str]:
        """Return what happened to a run: the causes of its changes."""
        return [str(event.cause) for event in self.client.events(run.id)]

    def row(self, run: Run) -> Mapping[str, Any]:
        """Return a run's row as it is, but for whether it was counted for the metrics: beat does that at any time."""
        import sqlalchemy as sa

        from iacq.store.schema import runs

        with self.database.transaction(reading=True) as tx:
            found = dict(tx.execute(sa.select(runs).where(runs.c.id == run.id)).one()._mapping)
        del found["tallied"]
        return found

    # what it said

    def said(self, text: str, mark: Mapping[Path, int]) -> bool:
        """Tell whether a program logged this since."""
        return any(text in said for said in self._said(mark).values())

    def mark(self) -> dict[Path, int]:
        """Remember where the logs end now."""
        return {log: log.stat().st_size for log in self._logs()}

    def said_since(self, mark: Mapping[Path, int]) -> str:
        """Return what the programs logged since."""
        return "\n".join(self._said(mark).values())

    def described_since(self, mark: Mapping[Path, int]) -> str:
        """Return the end of what the programs logged since, and the runs."""
        parts = [f"== {name}\n{text[-12000:]}" for name, text in self._said(mark).items()]
        return "\n".join([*parts, *self._describe_runs()])

    def _said(self, mark: Mapping[Path, int]) -> dict[str, str]:
        found = {}
        for log in self._logs():
            with log.open("rb") as file:
                file.seek(mark.get(log, 0))
                found[log.name] = file.read().decode(errors="replace")
        return found

    def _logs(self) -> list[Path]:
        return sorted((self.home / "log").glob("*.log"))

    def _describe_runs(self) -> list[str]:
        lines = [f"== {time.strftime('%H:%M:%S')}"]
        try:
            lines += [str(slot) for slot in self.client.slots()]
            for run in self.client.list(limit=2):
                lines.append(f"run {run.id} {run.workspace} {run.status} {run.error_code}: {run.error_text}")
                lines += [f"    {event}" for event in self.client.events(run.id)]
                lines += [f"    | {line.text}"[:200] for line in self.client.logs(run.id)][-25:]
        except IacqError as error:  # the database may be what failed
            lines.append(repr(error))
        return lines
