"""The slot's end of the socket to its keeper, shared by threads."""

from __future__ import annotations

import itertools
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from iacq.keeper import wire


class KeeperLine:
    """Asks and listens. One of the threads that wait reads for all: no thread of its own, no hand-over."""

    def __init__(self, end: socket.socket) -> None:
        """Take over `end`, connected to a keeper."""
        self._connection = wire.Connection(end)
        self._poll = select.poll()
        self._poll.register(self._connection, select.POLLIN)
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._reading = False
        self._closed = False
        self._numbers = itertools.count(1)
        self._answers: dict[int, wire.Message] = {}
        self._asked: set[int] = set()
        self._ended: dict[str, dict[str, Any]] = {}  # job directory → content of its result.json

    @property
    def closed(self) -> bool:
        """Tell whether the keeper is gone."""
        with self._changed:
            if not self._closed and not self._reading:
                self._read(timeout=0)
            return self._closed

    def ask(self, op: str, timeout: float, **arguments: Any) -> wire.Message | None:
        """Send a request and return the answer; None if the keeper is gone or does not answer in time."""
        number = next(self._numbers)
        with self._changed:
            self._asked.add(number)
        try:
            with self._sending:
                self._connection.send({"id": number, "op": op, **arguments})
        except wire.Closed:
            self._lose()
        self._until(lambda: number in self._answers, timeout)
        with self._changed:
            self._asked.discard(number)
            return self._answers.pop(number, None)

    def until_ended(self, directory: str, timeout: float) -> dict[str, Any] | None:
        """Wait for the end of a job that the keeper knows; None if it is gone or the time is over."""
        self._until(lambda: directory in self._ended, timeout)
        with self._changed:
            return self._ended.pop(directory, None)

    def forget(self, directory: str) -> None:
        """Drop what was heard about a job."""
        with self._changed:
            self._ended.pop(directory, None)

    def close(self) -> None:
        """Hang up. No thread may be waiting."""
        self._closed = True
        self._connection.close()

    def _until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Read and note, or let another thread do so, until `ready`, the end of the stream or of the time."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self._closed and not ready():
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                if self._reading:
                    self._changed.wait(left)
                else:
                    self._read(left)

    def _read(self, timeout: float) -> None:
        """Read once, with the lock released meanwhile."""
        self._reading = True
        self._changed.release()
        messages: list[wire.Message] = []
        try:
            if self._poll.poll(timeout * 1000):
                messages = self._connection.receive()
        except wire.Closed:
            self._closed = True
        finally:
            self._changed.acquire()
            self._reading = False
            for message in messages:
                self._note(message)
            self._changed.notify_all()

    def _note(self, message: wire.Message) -> None:
        if message.get("event") == "ended":
            self._ended[message["directory"]] = message["result"]
        elif message.get("re") in self._asked:
            self._answers[message["re"]] = message

    def _lose(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
