"""How a child program is tied to this process, and how its end is described."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from iacq.errors import Unavailable

_PR_SET_PDEATHSIG = 1
_LOG_LIMIT = 8 * 2**20
_TAIL = 16 * 2**10


def start(argv: Sequence[str], *, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a program that gets SIGTERM when the calling thread ends, with its output in a log.

    environment: all of it. It has a session of its own: the terminal's ^C is for us, who stop it in our own
    order. Raises Unavailable.
    """
    try:
        output = open_log(log)
        try:
            return subprocess.Popen(
                argv,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 - one prctl, made ready before the fork
            )
        finally:
            os.close(output)
    except OSError as error:
        raise Unavailable(f"cannot start {argv[0]}: {error}", code="program_failed") from error


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """Return a `preexec_fn` after which the kernel sends `number` to the child when its parent dies.

    Parent means the **thread** that starts the child: it must live until the child has ended.
    """
    libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork: the child only calls it
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked: nobody would tell us
            os._exit(1)

    return ask


def describe_end(returncode: int) -> str:
    """Say how a program ended: `exit code 3` or `SIGKILL`."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def open_log(path: Path) -> int:
    """Open a log for appending (mode 0600), a big one after moving it to `NAME.1`; returns the descriptor."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        path.replace(path.with_name(path.name + ".1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def last_lines(path: Path, count: int = 10) -> str:
    """Return the last lines of a log, or an empty text if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-count:])
