"""The database as something that can be killed, stopped and away."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests import servers
from tests.acceptance import fleet
from tests.conftest import migrate

_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE workspace_tasks SET message = 'never committed'")
print("held", flush=True)
sys.stdin.read()
"""
"""Keeps everybody out, having written something, until it is killed."""


@dataclass(frozen=True, kw_only=True)
class Victim:
    """A database. What its functions return are context managers: it is back when they end."""

    url: str
    killed: Callable[[], AbstractContextManager[None]]
    stopped: Callable[[], AbstractContextManager[None]]  # it neither answers nor refuses


@contextlib.contextmanager
def make(kind: str, directory: Path) -> Iterator[Victim]:
    """Make a fresh one, migrated: `sqlite` or `postgresql` (which syncs what it commits)."""
    if kind == "sqlite":
        file = directory / "iacq.db"
        migrate(f"sqlite:///{file}")
        # There is no server: what can happen is that a process is stopped, or killed, within a transaction.
        yield Victim(url=f"sqlite:///{file}", killed=lambda: _held(file), stopped=lambda: _held(file))
        return
    with servers.Postgres(migrate, durable=True) as server, server.database() as url:
        yield Victim(url=url, killed=lambda: _killed(server), stopped=lambda: _stopped(server))


@contextlib.contextmanager
def _held(file: Path) -> Iterator[None]:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        holder.stdout.readline()
        yield
    finally:
        holder.kill()
        holder.communicate()


@contextlib.contextmanager
def _killed(server: servers.Postgres) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start_again()


@contextlib.contextmanager
def _stopped(server: servers.Postgres) -> Iterator[None]:
    pids = server.pids()
    fleet.send(signal.SIGSTOP, pids)
    try:
        yield
    finally:
        fleet.send(signal.SIGCONT, pids)
