"""The fork server: a small program that the agent starts, and that forks keepers.

It is exec'ed, not forked, with an empty environment: what the agent has in memory or environment (keys,
passwords, the whole application) is in no keeper, and a fork of it costs a millisecond. It is no subreaper:
the programs of a dead keeper become children of the agent, which is one.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from pathlib import Path

from iacq.keeper import process, wire
from iacq.keeper.keeper import Keeper

_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from iacq.keeper import forkserver; forkserver.main(int(sys.argv[2]))"
)


class ForkServer:
    """The agent's end. Raises wire.Closed from `fork` once it is dead."""

    def __init__(self) -> None:
        """Start the program. Raises OSError."""
        ours, theirs = socket.socketpair()
        theirs.set_inheritable(True)
        root = str(Path(__file__).resolve().parents[2])
        argv = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROGRAM, root, str(theirs.fileno())]
        no_input = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        with theirs:
            self.pid = os.posix_spawn(sys.executable, argv, {}, file_actions=[no_input])
        self._connection = wire.Connection(ours)

    def fileno(self) -> int:
        """Return the descriptor to poll: readable once the program is dead."""
        return self._connection.fileno()

    def fork(self, control: socket.socket) -> None:
        """Make a keeper that obeys the other end of `control`. Its death shows as the end of that stream."""
        with control:
            self._connection.send({"op": "fork"}, [control.fileno()], wait=False)

    def close(self) -> None:
        """Let the program end. Its keepers live on, and end when they are idle."""
        self._connection.close()


def main(descriptor: int) -> None:
    """Serve until the agent is gone. Never returns."""
    _close_all_but(descriptor)
    process.make_undumpable()
    process.restore_signals()
    os.setsid()  # no ^C of a terminal
    os.chdir("/")
    _ignore_requests_to_end()
    process.set_name("iacq-forkserver")
    wakeup = process.Wakeup([signal.SIGCHLD])
    agent = wire.Connection(socket.socket(fileno=descriptor))
    poll = select.poll()
    poll.register(wakeup, select.POLLIN)
    poll.register(agent, select.POLLIN)
    gc.disable()  # next to no garbage here and in keepers, and a collection would unshare their memory
    while True:
        ready = {number for number, _ in poll.poll()}
        wakeup.drain()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if agent.fileno() in ready:
            try:
                messages = agent.receive()
            except wire.Closed:
                os._exit(0)
            for _ in messages:
                _fork_keeper(agent.descriptors.pop(0))


def _fork_keeper(control: int) -> None:
    if os.fork() == 0:
        status = 1
        try:
            _close_all_but(control)
            process.restore_signals()
            os.setsid()
            _ignore_requests_to_end()
            process.set_name("iacq-keeper")
            Keeper(socket.socket(fileno=control)).run()
            status = 0
        except BaseException:  # noqa: BLE001 - nothing of the fork server may go on in the child
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    os.close(control)


def _ignore_requests_to_end() -> None:
    """Leave the decision to the agent: whoever signals a whole container means the agent first."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)


def _close_all_but(descriptor: int) -> None:
    """Close what was inherited, except the standard three and `descriptor`, which stays out of programs."""
    os.set_inheritable(descriptor, False)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, _most_descriptors())


def _most_descriptors() -> int:
    import resource

    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 65536)
