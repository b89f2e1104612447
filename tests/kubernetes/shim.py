"""Stands between the kubelet and a container: all that descends from the container ends here, and ends with it.

    python -I -S shim.py PROGRAM ARGUMENT…

A letter on standard input is an order: `T` asks the container's first process to end, `O` kills it as a lack of memory
does, `S` and `C` stop everything and let it go on, `K` or the end of the input kills everything. It exits as the
container did, with 128 and the number of a signal.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.setsid()
    ready, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    container = os.posix_spawn(
        sys.argv[1], sys.argv[1:], os.environ, setsid=True, file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", 0, 0)]
    )
    code = _look_after(container, ready)
    while _descendants():
        _signal(_descendants(), signal.SIGKILL)
        _reap(0)
        select.select([ready], [], [], 0.01)
        _drain(ready)
    _reap(0)
    os._exit(code)


def _look_after(container: int, ready: int) -> int:
    while True:
        found = select.select([0, ready], [], [])[0]
        _drain(ready)
        code = _reap(container)
        if code is not None:
            return code
        for order in os.read(0, 16).decode() or "K" if 0 in found else "":
            if order == "K":
                os.kill(container, signal.SIGKILL)
                os.waitpid(container, 0)
                return 128 + signal.SIGKILL
            if order in "SC":
                _signal(_descendants(), signal.SIGSTOP if order == "S" else signal.SIGCONT)
            else:
                os.kill(container, signal.SIGTERM if order == "T" else signal.SIGKILL)


def _reap(container: int) -> int | None:
    """Take note of what has ended; returns the container's exit code if it was among that."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == container:
                how = os.waitstatus_to_exitcode(ended[1])
                code = how if how >= 0 else 128 - how
    return code


def _descendants() -> set[int]:
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family - {os.getpid()}


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _drain(ready: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(ready, 64):
            pass


if __name__ == "__main__":
    main()
