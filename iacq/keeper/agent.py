"""The processes of a pod: a fork server, a keeper per slot, and the forked children (slots, housekeeping).

    agent ─┬─ fork server ─── keeper (one per slot) ─── terraform
           └─ housekeeping, slot-1, slot-2, …

The agent waits, reaps, starts again what died, and forwards the request to stop. Then it starts a slot again only if
that died before it had reported what it ran.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from iacq.keeper import files, grace, process, wire
from iacq.keeper.child import INTERRUPT, Bell, Child, ChildContext
from iacq.keeper.forkserver import ForkServer
from iacq.keeper.orphans import Orphans
from iacq.keeper.respawn import Backoff
from iacq.keeper.seat import Seat

_log = logging.getLogger(__name__)

TEND_SECONDS = 0.1
"""How often the agent looks after programs whose keeper died, while there are some."""

REPORT_SECONDS = 3.0
"""How long slots may report after their programs were killed."""

OTHERS_SECONDS = 5.0
"""How long the other children have to end, and keepers to record what was killed."""

_NO_ROOM = 1.0
"""Seconds until what could not be forked, for want of memory or processes, is tried again."""

_TRIES_TO_FINISH = 3
"""How often a slot is started again in a stopping pod to report a job of which nothing is alive."""

_DYING_SECONDS = 1.0
"""A parent that dies asks to stop as often as it has threads, within so long."""

_LAST_THREAD = 0.2
"""Seconds after which a parent of which a thread has died is gone."""

_PATIENCE = 3600.0


class ProcessTree:
    """See the module. Single-threaded; no thread or connection may exist when `run` forks."""

    def __init__(self, slots_root: Path, slots: int) -> None:
        """Start the fork server and a keeper per slot; become the parent of their orphans. Raises OSError.

        slots_root: where `<slot>/jobs/<job>` directories are; slots: numbered from 1.
        """
        process.become_subreaper()
        self._server: ForkServer | None = ForkServer()
        self._server_backoff = Backoff()
        self._server_started = self._server_due = time.monotonic()
        self._seats = {number: Seat() for number in range(1, slots + 1)}
        for seat in self._seats.values():
            seat.fill(self._server)
        self._bells = {number: Bell() for number in self._seats}
        self._slots_root = slots_root
        self._orphans = Orphans(slots_root)
        self._children: list[Child] = []
        self._parent = os.getppid()
        self._requests_to_stop = 0
        self._first_request = 0.0  # monotonic seconds
        self._stop_at: float | None = None  # monotonic seconds when slots interrupt what they run

    def run(self, children: Mapping[str, Callable[[ChildContext], None]], stop_grace: float) -> int:
        """Keep the children running until SIGTERM or SIGINT, then end everything.

        children: name → what it does after the fork, then it exits; `slot-N` gets the socket of a keeper.
        stop_grace: seconds that slots have after the first signal; the second one is told them (`INTERRUPT`), so that
        they interrupt what runs (`keeper.grace`); the third one ends all at once.
        Returns 0 if all ended within that, 1 if programs or children had to be killed.
        """
        self._children = [Child(name, function) for name, function in children.items()]
        self._wakeup = process.Wakeup([signal.SIGCHLD, signal.SIGTERM, signal.SIGINT])
        self._orphans.look()
        gc.collect()
        gc.freeze()  # the children share what is there now
        while not self._requests_to_stop:
            self._start_what_is_due(self._children)
            self._turn(self._until_next_start(self._children))
        return self._stop(stop_grace)

    def _start_what_is_due(self, children: list[Child]) -> None:
        now = time.monotonic()
        if self._server is None and now >= self._server_due:
            with _told("the fork server"):
                self._server_due = now + _NO_ROOM
                self._server, self._server_started = ForkServer(), now
        for number, seat in self._seats.items():
            if seat.control is None and self._server is not None and now >= seat.due:
                with _told(f"the keeper of slot {number}"):
                    seat.due = now + _NO_ROOM
                    with contextlib.suppress(wire.Closed):  # the fork server just died: the next turn sees it
                        seat.fill(self._server)
        for child in children:
            if child.pid is None and now >= child.due:
                with _told(child.name):
                    child.due = now + _NO_ROOM
                    self._start_child(child)

    def _start_child(self, child: Child) -> None:
        seat = self._seats[child.slot_id] if child.slot_id is not None else None
        ours, theirs = socket.socketpair() if seat is not None else (None, None)
        foreign = [one for other in self._seats.values() for one in other.descriptors()]
        foreign += [*self._wakeup.descriptors(), *([self._server.fileno()] if self._server else [])]
        foreign += [ours.fileno()] if ours is not None else []
        try:
            child.start(keeper_socket=theirs, bells=self._bells, foreign=foreign, stop_at=self._stop_at)
        except OSError:
            if ours is not None:
                ours.close()
            raise
        finally:
            if theirs is not None:
                theirs.close()
        if seat is not None and ours is not None:
            seat.connect(ours)

    def _until_next_start(self, children: list[Child]) -> float:
        due = [child.due for child in children if child.pid is None]
        if self._server is None:
            due.append(self._server_due)
        else:
            due += [seat.due for seat in self._seats.values() if seat.control is None]
        return max(0.0, min(due) - time.monotonic()) if due else _PATIENCE

    def _turn(self, timeout: float) -> None:
        """Wait for something to happen, at most `timeout` seconds, and take note of it."""
        if self._orphans.watching:
            timeout = min(timeout, TEND_SECONDS)
        poll = select.poll()
        for one in (self._wakeup, self._server, *(seat.control for seat in self._seats.values())):
            if one is not None:
                poll.register(one, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(timeout * 1000)}
        for number, seat in self._seats.items():
            if seat.control is not None and seat.control.fileno() in ready and not seat.hear():
                if not self._requests_to_stop:
                    _log.error("the keeper of slot %d died", number)
                self._orphans.look()
        if self._server is not None and self._server.fileno() in ready:
            self._lose_server(self._server)
        self._count_requests(self._wakeup.drain())
        self._reap()
        self._orphans.tend()

    def _count_requests(self, caught: bytes) -> None:
        """Count the requests to stop. The death of the parent is one: the kernel makes one of each of its threads."""
        number = caught.count(signal.SIGTERM) + caught.count(signal.SIGINT)
        if number == 0:
            return
        now = time.monotonic()
        if self._requests_to_stop == 0:
            self._first_request = now
        more_than_one = self._requests_to_stop + number > 1
        if more_than_one and now - self._first_request < _DYING_SECONDS and self._parent_is_gone():
            self._requests_to_stop = max(self._requests_to_stop, 1)
        else:
            self._requests_to_stop += number

    def _parent_is_gone(self) -> bool:
        if os.getppid() == self._parent:
            time.sleep(_LAST_THREAD)  # the kernel tells nobody when the last one is gone
        return os.getppid() != self._parent

    def _lose_server(self, server: ForkServer) -> None:
        server.close()
        self._server = None
        now = time.monotonic()
        self._server_due = now + self._server_backoff.after(now - self._server_started)
        _log.error("the fork server died; its keepers live on")

    def _reap(self) -> None:
        for ended, returncode in _ended_children():
            child = next((one for one in self._children if one.pid == ended.pid), None)
            if child is not None:
                wait = child.ended(returncode)
                if not self._requests_to_stop:
                    _log.warning("%s ended (%d); starts again in %.1f s", child.name, returncode, wait)
            else:
                self._orphans.reaped(ended, returncode)

    def _stop(self, stop_grace: float) -> int:
        slots = [child for child in self._children if child.slot_id is not None]
        now = time.monotonic()
        deadline = now + stop_grace
        self._stop_at = now + grace.running_may_last(stop_grace)
        for child in slots:
            child.due = now  # one that is to be started again has no time to wait
            child.send(signal.SIGTERM)
        in_time = self._let_end(slots, deadline, requests=2)
        if not in_time and self._requests_to_stop == 2:
            self._stop_at = now = time.monotonic()
            for child in slots:
                child.send(INTERRUPT)
            in_time = self._let_end(slots, min(deadline, now + grace.stopping_may_last(stop_grace)), requests=3)
        if not in_time:
            self._kill_programs()
            self._turn_until(lambda: not _living(slots), REPORT_SECONDS)
            for child in slots:
                child.send(signal.SIGKILL)
            self._kill_programs()  # what a slot started meanwhile
        for child in self._children:
            child.send(signal.SIGTERM)
        if not self._turn_until(lambda: not _living(self._children), OTHERS_SECONDS):
            in_time = False
            for child in self._children:
                child.send(signal.SIGKILL)
        self._turn_until(self._slots_are_done, OTHERS_SECONDS)
        self._clear()
        return 0 if in_time else 1

    def _let_end(self, slots: list[Child], deadline: float, *, requests: int) -> bool:
        """Wait until slots and programs are done; False: it took too long, or we were asked to stop that many times.

        Terraform whose slot died is interrupted in time, and its state saved, only if somebody follows it.
        """
        while (unfinished := [child for child in slots if self._is_unfinished(child)]) or not self._slots_are_done():
            left = deadline - time.monotonic()
            if left <= 0 or self._requests_to_stop >= requests:
                return False
            if unfinished or _living(slots):
                self._start_what_is_due(unfinished)
                left = min(left, self._until_next_start(unfinished))
            self._turn(left)
        return True

    def _is_unfinished(self, slot: Child) -> bool:
        """Tell whether its process is gone, and did not end by itself, although there is a job of it."""
        if slot.pid is not None or slot.finished:
            return False
        try:
            jobs = files.list_jobs(self._slots_root / slot.name / "jobs")
            if any(files.is_alive(job.path) for job in jobs):
                return True
        except OSError:
            return True  # nobody can tell: it may have one
        return bool(jobs) and slot.starts_to_finish < _TRIES_TO_FINISH

    def _turn_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Go on without starting anything; False: it took too long."""
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._turn(left)
        return True

    def _slots_are_done(self) -> bool:
        """Tell whether neither slots nor programs are left. Without slots, idle keepers leave."""
        if _living([child for child in self._children if child.slot_id is not None]):
            return False
        for seat in self._seats.values():
            seat.tell("leave")
        return not self._orphans.living and all(seat.control is None for seat in self._seats.values())

    def _kill_programs(self) -> None:
        for seat in self._seats.values():
            seat.tell("kill")
        with contextlib.suppress(OSError):
            self._orphans.kill_all()

    def _clear(self) -> None:
        """End whatever still descends from this process, and reap it."""
        for seat in self._seats.values():
            seat.close()
        if self._server is not None:
            self._server.close()
        for bell in self._bells.values():
            bell.close()
        while _has_children():
            process.kill_descendants()
            for _ in _ended_children():
                pass
            select.select([self._wakeup], [], [], 0.01)
            self._wakeup.drain()
        self._wakeup.close()


@contextlib.contextmanager
def single_keeper() -> Iterator[socket.socket]:
    """Run one keeper without an agent, for as long as the context lasts; gives a slot's socket to it.

    At the end its program is killed. If the keeper dies, nobody takes note of how its program ends.
    """
    server = ForkServer()
    seat = Seat()
    seat.fill(server)
    ours, theirs = socket.socketpair()
    seat.connect(theirs)
    try:
        with ours:
            yield ours
    finally:
        seat.tell("kill")
        seat.tell("leave")
        while seat.control is not None:
            select.select([seat.control], [], [])
            seat.hear()
        server.close()
        os.waitpid(server.pid, 0)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Say what cannot be started now. The others live on: nobody ends because one process cannot be forked."""
    try:
        yield
    except OSError as error:
        _log.error("%s cannot be started: %s", what, error)


def _living(children: list[Child]) -> bool:
    return any(child.pid is not None for child in children)


def _ended_children() -> Iterator[tuple[process.Process, int]]:
    """Reap what has ended; yields what /proc said of it before, and its exit code."""
    while True:
        try:
            # Not reaped yet, so that its start time can still be read.
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None:
            return
        ended = process.read(found.si_pid)
        _, status = os.waitpid(found.si_pid, 0)
        if ended is not None:
            yield ended, os.waitstatus_to_exitcode(status)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
