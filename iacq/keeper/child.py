"""The processes that an agent forks: slots, housekeeping."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from iacq.keeper import process
from iacq.keeper.respawn import Backoff

INTERRUPT = signal.SIGUSR2
"""Tells a slot that what runs is interrupted now. Not a second SIGTERM: of two that wait to be handled one is lost."""

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


@dataclass(frozen=True, kw_only=True)
class ChildContext:
    """What a child is given. Descriptors are its own; it may close them."""

    name: str
    boot: str  # 12 hex digits, new at each start
    slot_id: int | None  # from 1; None: not a slot
    keeper_socket: socket.socket | None  # of a slot: connected to its keeper
    bell: int | None  # of a slot: readable once somebody rang, perhaps before this boot; non-blocking
    bells: Mapping[int, int]  # of others: slot → where a byte rings; non-blocking, full is rung
    stop_at: float | None  # monotonic seconds when what runs is interrupted; None: the pod was not told to stop


class Bell:
    """A pipe that wakes one slot, whichever process runs it."""

    def __init__(self) -> None:
        """Make it."""
        self.read, self.write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read)
        os.close(self.write)


class Child:
    """One of them, over all its lives."""

    def __init__(self, name: str, function: Callable[[ChildContext], None]) -> None:
        """Describe it; a name `slot-N` makes it slot N."""
        match = re.fullmatch(r"slot-(\d+)", name)
        self.name = name
        self.slot_id = int(match[1]) if match else None
        self.pid: int | None = None
        self.due = 0.0  # monotonic seconds when it may start
        self.finished = False  # it ended by itself, and left nothing to do
        self.starts_to_finish = 0  # while its pod stopped
        self._function = function
        self._backoff = Backoff()
        self._started = 0.0

    def start(
        self,
        *,
        keeper_socket: socket.socket | None,
        bells: Mapping[int, Bell],
        foreign: Iterable[int],
        stop_at: float | None = None,
    ) -> None:
        """Fork it, without the descriptors in `foreign` and the bells of other slots. Raises OSError.

        stop_at: see `ChildContext`.
        """
        parent = os.getpid()
        # A signal between fork and the child's own handlers would end up in the parent's wake-up pipe.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
        try:
            pid = os.fork()
            if pid == 0:
                self._live(parent, keeper_socket, bells, foreign, stop_at)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self.pid = pid
        self.starts_to_finish += stop_at is not None
        self._started = time.monotonic()

    def ended(self, returncode: int) -> float:
        """Take note of its end; returns the seconds until it may start again."""
        now = time.monotonic()
        wait = self._backoff.after(now - self._started)
        self.pid = None
        self.finished = returncode == 0
        self.due = now + wait
        return wait

    def send(self, number: signal.Signals) -> None:
        """Signal it if it lives."""
        if self.pid is not None:
            process.send(self.pid, number)

    def _live(
        self,
        parent: int,
        keeper_socket: socket.socket | None,
        bells: Mapping[int, Bell],
        foreign: Iterable[int],
        stop_at: float | None,
    ) -> NoReturn:
        status = 1
        try:
            _begin(parent)
            process.set_name(f"iacq-{self.name}")
            for descriptor in foreign:
                os.close(descriptor)
            for slot_id, bell in bells.items():
                if self.slot_id is not None:
                    os.close(bell.write)
                if self.slot_id != slot_id:
                    os.close(bell.read)
            self._function(
                ChildContext(
                    name=self.name,
                    boot=os.urandom(6).hex(),
                    slot_id=self.slot_id,
                    keeper_socket=keeper_socket,
                    bell=bells[self.slot_id].read if self.slot_id is not None else None,
                    bells={} if self.slot_id is not None else {one: bells[one].write for one in bells},
                    stop_at=stop_at,
                )
            )
            status = 0
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except BaseException:  # noqa: BLE001 - nothing of the agent may go on in the child
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


def _begin(parent: int) -> None:
    """Make the forked process a process of its own."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()  # ^C of a terminal is for the agent, which forwards it
    process.die_with_parent(parent, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
