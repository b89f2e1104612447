"""Runs programs in the foreground, for `iacq up` and `iacq demo`: restarts what dies, stops all in order.

One thread does it all: it sleeps until a child ends, a restart is due, or somebody calls. Every child is
started by that thread and dies with it, so a SIGKILL of this process leaves nothing running.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Self

from iacq.adapters.programs import child_process
from iacq.adapters.programs.bell import Bell
from iacq.adapters.programs.interrupting import signals_as_hurry
from iacq.adapters.programs.stopping import Stopping
from iacq.adapters.programs.supervised_program import Program, Restarts, SupervisedProgram
from iacq.adapters.programs.up_lock import UpLock
from iacq.errors import IacqError, Unavailable

_GLANCE = 0.5
"""Seconds after which the main thread looks up from a wait: Python handles a signal that comes just before a
thread blocks only when something wakes it."""


class Foreground:
    """The programs of one HOME. A context manager: it takes the lock, and stops everything at the end.

    `say` gets a line for each thing that happens (with the end of a log below it where one ended), from
    another thread.
    """

    def __init__(self, home: Path, *, say: Callable[[str], None], restarts: Restarts | None = None) -> None:
        self._say = say
        self._restarts = restarts or Restarts()
        self._lock = UpLock(home)
        self._groups: list[list[SupervisedProgram]] = []  # touched by the thread only
        self._orders: queue.SimpleQueue[tuple[tuple[Program, ...], Future[None]]] = queue.SimpleQueue()
        self._door = threading.Lock()  # between an order and the thread's end
        self._closed = False
        self._bell = Bell()
        self._stopping = False
        self._hurries = 0
        self._hurries_of_others = 0  # that were meant for groups that have stopped
        self._failure: BaseException | None = None
        self._over = threading.Event()  # a program was given up, or the thread ended
        self._thread = threading.Thread(target=self._supervise, name="foreground", daemon=True)

    def __enter__(self) -> Self:
        """Take the lock of HOME. Raises Conflict if another `iacq up` has it."""
        self._lock.acquire()
        self._bell.hang()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, *programs: Program) -> None:
        """Start programs. Those of one call are stopped together, those of a later call before.

        Returns when they run. Raises Unavailable if one cannot be started.
        """
        done: Future[None] = Future()
        with self._door:
            if self._closed:
                raise Unavailable("it is stopped, and starts nothing any more", code="stopping")
            self._orders.put((programs, done))
        self._bell.ring()
        done.result()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for ^C (KeyboardInterrupt) or `timeout` seconds. Raises Unavailable if one is given up."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not self._over.wait(min(_GLANCE, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return
        if self._failure is not None:
            raise self._failure

    def pids(self) -> dict[str, int]:
        """Return the process ids of what runs now, by name."""
        return {child.program.name: child.pid for child in self._children() if child.pid}

    def hurry(self) -> None:
        """Send what is being stopped SIGTERM once more; the next time SIGKILL. Safe in a signal handler."""
        self._hurries += 1
        self._bell.ring()

    def stop(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Stop all in reverse order, each within its grace, and release the lock. May be called again.

        Called in the main thread, a further ^C or SIGTERM during it means `hurry()`. meanwhile: called once they were
        told to stop.
        """
        if not self._bell.hangs:
            return
        with signals_as_hurry(self.hurry):
            self._stopping = True
            self._bell.ring()
            meanwhile()
            while self._thread.is_alive():
                self._thread.join(_GLANCE)
            self._bell.take_down()
        self._lock.release()

    def _children(self) -> list[SupervisedProgram]:
        return [child for group in self._groups for child in group]

    # What follows runs in the thread.

    def _supervise(self) -> None:
        try:
            while not self._stopping:
                self._obey()
                self._bury()
                self._start_again()
                due = [child.restart_at for child in self._children() if child.restart_at is not None]
                self._sleep(self._children(), min(due, default=math.inf))
            for group in reversed(self._groups):
                self._stop_group(group)
        except BaseException as error:  # noqa: BLE001 - handed to the caller of wait(); the children die with the thread
            self._failure = error
        finally:
            self._over.set()
            self._refuse_orders()

    def _obey(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                programs, done = self._orders.get_nowait()
                group = [SupervisedProgram(program, self._restarts) for program in programs]
                self._groups = [*self._groups, group]
                try:
                    for child in group:
                        self._launch(child)
                except BaseException as error:
                    done.set_exception(error)
                    if not isinstance(error, IacqError):
                        raise
                else:
                    done.set_result(None)

    def _refuse_orders(self) -> None:
        with self._door, contextlib.suppress(queue.Empty):
            self._closed = True
            while True:
                self._orders.get_nowait()[1].set_exception(Unavailable("it is being stopped", code="stopping"))

    def _launch(self, child: SupervisedProgram) -> None:
        child.launch(time.monotonic())
        self._tell(f"{child.program.name}: started, process {child.pid}")

    def _bury(self) -> None:
        for child in self._children():
            how = child.reap()
            if how is not None:
                self._lost(child, f"ended with {how}")

    def _start_again(self) -> None:
        for child in self._children():
            if child.restart_at is not None and child.restart_at <= time.monotonic():
                try:
                    self._launch(child)
                except Unavailable as error:
                    self._lost(child, error.message)

    def _lost(self, child: SupervisedProgram, what: str) -> None:
        delay = child.plan_restart(time.monotonic())
        then = "too often: given up" if delay is None else f"starts again in {delay:g} s"
        said = child_process.last_lines(child.program.log) or "(nothing)"
        text = f"{child.program.name}: {what}; {then}. The end of {child.program.log}:\n{said}"
        self._tell(text)
        if delay is None:
            self._failure = Unavailable(text, hint="repair what it says, and start again", code="program_failed")
            self._over.set()

    def _stop_group(self, group: list[SupervisedProgram]) -> None:
        before = self._hurries_of_others
        stopping = Stopping(reversed(group), self._tell)
        while stopping.living:
            self._sleep(stopping.living, stopping.due)
            stopping.turn(self._hurries - before)
        self._hurries_of_others = self._hurries

    def _sleep(self, children: Iterable[SupervisedProgram], until: float) -> None:
        """Sleep until one of the children ends, somebody rings, or it is `until` (infinite: never)."""
        self._bell.sleep((child.descriptor for child in children), until - time.monotonic())

    def _tell(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone; what runs is more important
            self._say(text)
