"""The keeper of one slot: starts programs, stays their parent, and is the only one that signals them.

It outlives the slot's process (a new one gets a new socket) and the agent (then it ends with its program). It
has no database, no broker and no keys, and never reads what a program prints.

Messages of the slot have an `id`, which the answer repeats as `re`:

    start      directory, run_id, fence, phase, argv, cwd, environment, not_after → started, or error and code
    wait       directory → known, and result if it has ended; `ended` follows later
    interrupt, kill   directory → known
    word       directory, run_id, fence → word
    (from the keeper) ended: directory, result

Messages of the agent: `slot` (a descriptor rides along), `kill`, `leave` (end when idle).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iacq.keeper import files, launching, process, signals, wire
from iacq.keeper.spare import Spare

LOOK_SECONDS = 0.5
"""How often a busy keeper looks for requests in the job's directory, and retries to write a result."""

_STRAGGLER_SECONDS = 0.01


@dataclass(kw_only=True)
class _Running:
    """The one job of this keeper."""

    order: launching.Order
    pid: int
    started: float  # monotonic seconds
    returncode: int | None = None  # of the program, once it has ended
    sent: set[signals.Signal] = field(default_factory=set)
    result: dict[str, Any] | None = None  # content of result.json, once all that descended from it is gone


class Keeper:
    """See the module."""

    def __init__(self, control: socket.socket) -> None:
        """Obey the agent at the other end of `control`."""
        self._control: wire.Connection | None = wire.Connection(control)
        self._slot: wire.Connection | None = None
        self._job: _Running | None = None
        self._spare: Spare | None = None
        self._process = process.read_present(os.getpid())
        self._leaving = False
        self._wakeup = process.Wakeup([signal.SIGCHLD])
        self._answers: Mapping[str, Callable[[wire.Message], Mapping[str, Any]]] = {
            "start": self._start,
            "wait": self._wait,
            "interrupt": self._interrupt,
            "kill": self._kill,
            "word": self._word,
        }
        process.become_subreaper()

    def run(self) -> None:
        """Work until there is neither an agent nor a job."""
        while self._job is not None or not self._leaving:
            if self._job is None and self._spare is None:
                self._spare = Spare()
            self._listen()
            self._reap()
            self._obey_files()
        if self._spare is not None:
            self._spare.abandon()

    def _listen(self) -> None:
        poll = select.poll()
        for one in (self._wakeup, self._control, self._slot):
            if one is not None:
                poll.register(one, select.POLLIN)
        timeout = self._timeout()
        ready = {descriptor for descriptor, _ in poll.poll(None if timeout is None else timeout * 1000)}
        if self._wakeup.fileno() in ready:
            self._wakeup.drain()
        if self._slot is not None and self._slot.fileno() in ready:
            self._hear_slot(self._slot)
        if self._control is not None and self._control.fileno() in ready:
            self._hear_agent(self._control)

    def _timeout(self) -> float | None:
        if self._job is None:
            return None
        ending = self._job.returncode is not None and self._job.result is None
        return _STRAGGLER_SECONDS if ending else LOOK_SECONDS

    def _hear_agent(self, control: wire.Connection) -> None:
        try:
            messages = control.receive()
        except wire.Closed:
            control.close()
            self._control = None
            self._leaving = True
            return
        for message in messages:
            match message.get("op"):
                case "slot":
                    self._drop_slot()
                    self._slot = wire.Connection(socket.socket(fileno=control.descriptors.pop(0)))
                case "kill":
                    self._signal(signals.Signal.KILL)
                case "leave":
                    self._leaving = True

    def _hear_slot(self, slot: wire.Connection) -> None:
        try:
            for message in slot.receive():
                self._tell_slot({"re": message.get("id"), **self._answer(message)})
        except wire.Closed:
            self._drop_slot()

    def _answer(self, message: wire.Message) -> Mapping[str, Any]:
        try:
            return self._answers[message["op"]](message)
        except (OSError, LookupError, TypeError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _tell_slot(self, message: Mapping[str, Any]) -> None:
        if self._slot is None:
            return
        try:
            self._slot.send(message, wait=False)
        except wire.Closed:
            self._drop_slot()

    def _drop_slot(self) -> None:
        if self._slot is not None:
            self._slot.close()
            self._slot = None

    def _start(self, message: wire.Message) -> Mapping[str, Any]:
        if self._job is not None:
            return {"error": f"still busy with {self._job.order.directory.name}", "code": "busy"}
        order = launching.Order(
            directory=Path(message["directory"]),
            run_id=message["run_id"],
            fence=message["fence"],
            phase=message["phase"],
            argv=tuple(message["argv"]),
            cwd=message["cwd"],
            environment=message["environment"],
            not_after=message["not_after"],
        )
        try:
            spare, self._spare = self._spare, None
            pid = launching.launch(order, self._process, spare)
        except launching.AlreadyLaunched:
            return {"error": "somebody else started it, or may have", "code": "already_started"}
        if pid is None:
            return {"started": False}
        self._job = _Running(order=order, pid=pid, started=time.monotonic())
        return {"started": True}

    def _wait(self, message: wire.Message) -> Mapping[str, Any]:
        job = self._job_of(message)
        return {"known": job is not None, "result": job and job.result}

    def _interrupt(self, message: wire.Message) -> Mapping[str, Any]:
        return self._signal_on_request(message, signals.Signal.INTERRUPT)

    def _kill(self, message: wire.Message) -> Mapping[str, Any]:
        return self._signal_on_request(message, signals.Signal.KILL)

    def _word(self, message: wire.Message) -> Mapping[str, Any]:
        directory = Path(message["directory"])
        return {"word": files.give_word(directory, run_id=message["run_id"], fence=message["fence"])}

    def _job_of(self, message: wire.Message) -> _Running | None:
        job = self._job
        return job if job is not None and job.order.directory == Path(message["directory"]) else None

    def _signal_on_request(self, message: wire.Message, which: signals.Signal) -> Mapping[str, Any]:
        job = self._job_of(message)
        if job is not None:
            self._signal(which)
        return {"known": job is not None}

    def _signal(self, which: signals.Signal) -> None:
        """Signal the program, unless it has ended or got this signal before."""
        job = self._job
        if job is None or job.returncode is not None:
            return
        first = which not in job.sent and _mark(job.order.directory, which)
        job.sent.add(which)
        if which is signals.Signal.KILL:
            process.kill_descendants()
        elif first:
            process.send_group(job.pid, signal.SIGINT)

    def _obey_files(self) -> None:
        """Do what was asked by files: whoever manages the job may have no socket to this keeper."""
        if self._job is None or self._job.returncode is not None:
            return
        for which in self._job.sent:
            _mark(self._job.order.directory, which)  # there may have been no room for the mark when it was sent
        for which in signals.Signal:
            if signals.requested(self._job.order.directory, which):
                self._signal(which)

    def _reap(self) -> None:
        job = self._job
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                nothing_left = True
                break
            if pid == 0:
                nothing_left = False
                break
            if job is not None and pid == job.pid:
                job.returncode = os.waitstatus_to_exitcode(status)
            elif self._spare is not None and pid == self._spare.process.pid:
                self._spare.close()
                self._spare = None
        if job is None or job.returncode is None:
            return
        if nothing_left:
            self._finish(job, job.returncode)
        else:
            process.kill_descendants()

    def _finish(self, job: _Running, returncode: int) -> None:
        """Write the result and tell the slot, which learns it even while the disk is full."""
        order = job.order
        first = job.result is None
        if job.result is None:
            job.result = files.ended_content(
                order.directory,
                returncode=returncode,
                wall_ms=round((time.monotonic() - job.started) * 1000),
                run_id=order.run_id,
                fence=order.fence,
            )
        try:
            files.write_result(order.directory, job.result, durable=files.is_durable(order.phase))
            self._job = None
        except FileNotFoundError:  # somebody removed the directory: nobody wants to know
            self._job = None
        except OSError:
            pass  # tried again soon
        if first:
            self._tell_slot({"event": "ended", "directory": str(order.directory), "result": job.result})


def _mark(directory: Path, which: signals.Signal) -> bool:
    try:
        return signals.mark(directory, which)
    except OSError:  # a full disk does not keep a program from being stopped
        return True
