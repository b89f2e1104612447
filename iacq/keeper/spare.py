"""A process that waits to become a program: forked while the keeper is idle, ready when an order comes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from iacq.keeper import files, lock, process, wire

NOT_RELEASED = 125
"""Exit code of a process whose keeper died after it got its order and before it was released."""

NOT_EXECUTABLE = 127
"""Exit code of a process that could not become the program; `err` says why."""

_LINE = 4  # descriptor of the line to the keeper; below: stdin, stdout, stderr, the lock
_MOST_DESCRIPTORS = 256  # a keeper has about ten


class Spare:
    """The keeper's side of it."""

    def __init__(self) -> None:
        """Fork it. Raises OSError."""
        ours, theirs = socket.socketpair()
        self._line = wire.Connection(ours)
        with theirs, process.naming_children("iacq-spare"):
            pid = os.fork()
            if pid == 0:
                _live(theirs.fileno())
        self.process = process.read_present(pid)

    def prepare(self, *, directory: Path, argv: tuple[str, ...], cwd: str, environment: Mapping[str, str]) -> None:
        """Tell it what to become, once it is released. Raises wire.Closed if it is dead."""
        self._line.send({"directory": str(directory), "argv": argv, "cwd": cwd, "environment": dict(environment)})

    def release(self) -> None:
        """Let it become the program."""
        with contextlib.suppress(wire.Closed):  # dead already: its end tells
            self._line.send({"released": True})
        self._line.close()

    def abandon(self) -> None:
        """Let it end, and wait for that."""
        self._line.close()
        with contextlib.suppress(ChildProcessError):  # reaped already
            os.waitpid(self.process.pid, 0)

    def close(self) -> None:
        """Hang up on a process that has been reaped."""
        self._line.close()


def _live(line: int) -> NoReturn:
    """Wait for an order and the release, then become the program. Ends the process whatever happens."""
    try:
        os.setsid()
        process.restore_signals_of_keeper()
        if line != _LINE:
            os.dup2(line, _LINE, inheritable=False)
        # A copy of the keeper's sockets kept here would hide its death from the others.
        os.close(3)
        os.closerange(_LINE + 1, _MOST_DESCRIPTORS)
        messages = _messages(wire.Connection(socket.socket(fileno=_LINE)))
        order = next(messages, None)
        if order is None:
            os._exit(0)
        _open_files(Path(order["directory"]))
        if next(messages, None) is None:
            os.write(2, b"iacq: the keeper died before this was started\n")
            os._exit(NOT_RELEASED)
        _execute(order["argv"], order["cwd"], order["environment"])
    except BaseException as error:  # noqa: BLE001 - nothing of the keeper may go on here
        with contextlib.suppress(OSError):
            os.write(2, f"iacq: {error}\n".encode(errors="replace"))
    os._exit(NOT_EXECUTABLE)


def _messages(keeper: wire.Connection) -> Iterator[wire.Message]:
    """Yield what the keeper says until it hangs up or dies."""
    while True:
        select.select([keeper], [], [])
        try:
            yield from keeper.receive()
        except wire.Closed:
            return


def _open_files(directory: Path) -> None:
    """Put the job's files at the descriptors of a program, and its lock at the one after them."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    wanted = [
        os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC),
        os.open(directory / files.OUT, flags, 0o600),
        os.open(directory / files.ERR, flags, 0o600),
        lock.hold(directory),
    ]
    # Aside first: one of them may sit at a number where another one goes. exec closes these copies.
    aside = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, _LINE + 1) for one in wanted]
    for number, descriptor in enumerate(aside):
        os.dup2(descriptor, number)


def _execute(argv: list[str], cwd: str, environment: dict[str, str]) -> NoReturn:
    try:
        os.chdir(cwd)
        os.execve(argv[0], argv, {**environment, "PWD": cwd})  # noqa: S606 - that is the point
    except OSError as error:
        raise OSError(error.errno, f"cannot run {argv[0]} in {cwd}: {error.strerror}") from error
