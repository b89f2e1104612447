"""Runs a real Valkey or Redis server of our own on a private unix socket.

Nothing listens on the network. The server dies with the thread that started it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from iacq.adapters import private_directory
from iacq.adapters.broker import leftover
from iacq.adapters.broker import program as broker_program
from iacq.adapters.programs import child_process
from iacq.adapters.programs.supervised_program import Program
from iacq.errors import Unavailable
from iacq.settings import Settings

if TYPE_CHECKING:
    import redis

_ENVIRONMENT = {"PATH": os.defpath}  # nothing of ours, where keys may be
_POLL = 0.01  # seconds between two looks at a server that starts or ends


class EmbeddedBroker:
    """The embedded broker of one HOME.

    Either `start()` and `stop()` it here, or give `program()` to a `Foreground`, which restarts it, and
    `wait_ready()`.
    One at a time per HOME: the caller holds the lock of `Foreground`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The unix socket that it answers on."""
        return self._settings.broker_socket

    @property
    def log(self) -> Path:
        """What the server says."""
        return self._settings.home / "log" / "broker.log"

    @property
    def pid(self) -> int | None:
        """Process id of the server that `start()` started and that has not been stopped."""
        return self._process.pid if self._process else None

    def program(self) -> Program:
        """Make the directories, see off a server that an earlier parent left behind, and return what to run.

        Raises Unavailable if there is no server program, or a directory cannot be private.
        """
        server = broker_program.find(self._settings)
        home = self._settings.home
        private_directory.ensure(home.resolve())
        for directory in (home / "broker", home / "log", self.socket.parent):
            private_directory.ensure(directory)
        leftover.see_off(self._settings)
        argv = broker_program.arguments(self._settings, server)
        return Program(name="broker", argv=argv, environment=_ENVIRONMENT, log=self.log)

    def start(self, timeout: float = 30.0) -> None:
        """Start the server and wait until it answers. Call it from a thread that lives until `stop()`.

        Raises Unavailable with the end of its log if it ends or does not answer within `timeout` seconds.
        """
        program = self.program()
        self._process = child_process.start(program.argv, environment=program.environment, log=program.log)
        try:
            self.wait_ready(timeout)
        except BaseException:
            self.stop()
            raise

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until the server answers. Raises Unavailable with the end of its log."""
        deadline = time.monotonic() + timeout
        while not self._answers():
            ended = self._process.poll() if self._process else None
            if ended is not None:
                raise self._failed(f"ended with {child_process.describe_end(ended)}")
            if time.monotonic() > deadline:
                raise self._failed(f"did not answer on {self.socket} within {timeout:g} s")
            time.sleep(_POLL)

    def stop(self, grace: float = 10.0) -> None:
        """Stop what `start()` started: SHUTDOWN, then SIGTERM, then SIGKILL, `grace` seconds apart."""
        process, self._process = self._process, None
        if process is not None:
            graceful = [self._shutdown] if self._answers() else []
            for ask in (*graceful, process.terminate, process.kill):
                ask()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(grace)
                    break
        self._remove_socket()

    def _answers(self) -> bool:
        import redis

        try:
            with contextlib.closing(self._connect()) as client:
                return bool(client.ping())
        except redis.RedisError:  # not there yet, or still loading
            return False

    def _shutdown(self) -> None:
        import redis

        with contextlib.suppress(redis.RedisError), contextlib.closing(self._connect()) as client:
            client.shutdown()

    def _connect(self) -> redis.Redis:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return redis.Redis(
            unix_socket_path=str(self.socket),
            socket_timeout=1,
            socket_connect_timeout=1,
            retry=Retry(NoBackoff(), 0),
        )

    def _failed(self, what: str) -> Unavailable:
        said = child_process.last_lines(self.log) or "(nothing)"
        return Unavailable(
            f"the embedded broker {what}; the end of {self.log}:\n{said}",
            hint="repair what it says, or set IACQ_BROKER_URL to a running server",
            code="broker_failed",
        )

    def _remove_socket(self) -> None:
        """Leave nothing in the shared temporary directory. Within HOME the directory stays."""
        self.socket.unlink(missing_ok=True)
        if self._settings.home not in self.socket.parents:
            with contextlib.suppress(OSError):
                self.socket.parent.rmdir()
