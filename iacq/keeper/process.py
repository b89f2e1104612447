"""Processes as Linux shows them: who lives, who descends from whom, and a process's own switches."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_GET_NAME = 16
_PR_SET_CHILD_SUBREAPER = 36

_SIGNALS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_SET_BY_KEEPERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)


@dataclass(frozen=True, kw_only=True)
class Process:
    """One line of /proc/<pid>/stat."""

    pid: int
    state: str  # Z and X: it has ended
    parent: int
    session: int
    start_time: int  # clock ticks since the machine's boot; with the pid it names a process for ever


def read(pid: int) -> Process | None:
    """Look at one process; None if there is no such process (a zombie is one)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(b")")[2].split()
    return Process(
        pid=pid,
        state=fields[0].decode(),
        parent=int(fields[1]),
        session=int(fields[3]),
        start_time=int(fields[19]),
    )


def read_present(pid: int) -> Process:
    """Look at this process or an unreaped child of it. Raises ProcessLookupError if it is neither."""
    found = read(pid)
    if found is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return found


def is_running(pid: int, start_time: int) -> bool:
    """Tell whether this very process has not ended. A zombie has."""
    found = read(pid)
    return found is not None and found.start_time == start_time and found.state not in "ZX"


def table() -> dict[int, Process]:
    """Return every process that is visible here, by pid."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return {found.pid: found for found in map(read, pids) if found is not None}


def descendants(processes: Mapping[int, Process], root: int) -> Iterator[Process]:
    """Yield the living children of `root` and theirs, without `root`."""
    children: dict[int, list[Process]] = {}
    for found in processes.values():
        children.setdefault(found.parent, []).append(found)
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            waiting.append(child.pid)
            if child.state not in "ZX":
                yield child


def kill_descendants() -> None:
    """SIGKILL all that descends from this process, as it is now."""
    for found in descendants(table(), os.getpid()):
        send(found.pid, signal.SIGKILL)


def send(pid: int, number: signal.Signals) -> None:
    """Signal one process; no error if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def send_group(leader: int, number: signal.Signals) -> None:
    """Signal a process group; no error if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)


@functools.cache
def boot_id() -> str:
    """Name the present boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def make_undumpable() -> None:
    """Close this process's memory and environment to others of the same user.

    Inherited by fork, reset by exec: each program that is exec'ed calls it itself. Root is not kept out.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def become_subreaper() -> None:
    """Become the parent of every orphan among this process's descendants. Not inherited."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int, number: signal.Signals) -> None:
    """Get `number` when `parent` dies; exit at once if it is dead already."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def set_name(name: str) -> None:
    """Set what `ps` and `top` show, at most 15 bytes."""
    _prctl(_PR_SET_NAME, ctypes.create_string_buffer(name.encode()[:15]))


@contextlib.contextmanager
def naming_children(name: str) -> Iterator[None]:
    """Let a child that is forked meanwhile begin with this name.

    If the child set it, the kernel would have to copy what ctypes touches: a millisecond.
    """
    mine = ctypes.create_string_buffer(16)
    _prctl(_PR_GET_NAME, mine)
    set_name(name)
    try:
        yield
    finally:
        _prctl(_PR_SET_NAME, mine)


def restore_signals() -> None:
    """Give every signal its default action, and unblock all."""
    _restore(number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_DFL)


def restore_signals_of_keeper() -> None:
    """Do so in a child of a keeper, which began with all of them restored and set a few: to look at each takes long."""
    _restore(_SET_BY_KEEPERS)


def _restore(numbers: Iterable[int]) -> None:
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
    for number in numbers:
        with contextlib.suppress(OSError, ValueError):  # some real-time signals belong to the C library
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


class Wakeup:
    """A descriptor that becomes readable when a signal arrives, for use in a poll."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        """Catch `numbers` from now on, in the main thread."""
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, _note)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._read

    def descriptors(self) -> list[int]:
        """Return what a forked child must not keep."""
        return [self._read, self._write]

    def drain(self) -> bytes:
        """Return the numbers of the signals that came since the last call, a byte each."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._read, 4096)
        return b""

    def close(self) -> None:
        """Close both ends; handlers stay as they are."""
        with contextlib.suppress(ValueError):
            signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)


def _note(_number: int, _frame: object) -> None:
    """Do nothing: the byte in the wake-up pipe is what counts."""


def _prctl(option: int, value: int | ctypes.Array[ctypes.c_char]) -> None:
    libc = _libc()
    argument = ctypes.c_ulong(value) if isinstance(value, int) else value
    zero = ctypes.c_ulong(0)
    if libc.prctl(ctypes.c_int(option), argument, zero, zero, zero) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
