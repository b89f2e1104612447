"""The keeper of one slot, as the agent sees it: over the lives of several keepers and slot processes."""

from __future__ import annotations

import socket
import time

from iacq.keeper import wire
from iacq.keeper.forkserver import ForkServer
from iacq.keeper.respawn import Backoff


class Seat:
    """Holds the control end of the present keeper, if there is one."""

    def __init__(self) -> None:
        """Begin empty."""
        self.control: wire.Connection | None = None
        self.due = 0.0  # monotonic seconds when an empty seat may be filled
        self._waiting: socket.socket | None = None  # keeper's end for the present slot process
        self._backoff = Backoff()
        self._filled = 0.0

    def fill(self, server: ForkServer) -> None:
        """Make a keeper. Raises wire.Closed if the fork server is dead."""
        ours, theirs = socket.socketpair()
        self.control = wire.Connection(ours)
        self._filled = time.monotonic()
        try:
            server.fork(theirs)
        except wire.Closed:
            self.vacate()
            raise
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self.connect(waiting)

    def connect(self, end: socket.socket) -> None:
        """Hand the keeper its end of a new slot process's socket, now or once there is a keeper."""
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None
        if self.control is None:
            self._waiting = end
            return
        self.tell("slot", [end.fileno()])
        end.close()

    def tell(self, op: str, descriptors: list[int] | None = None) -> None:
        """Send the keeper a word; nobody hears it if there is none, or it is dying."""
        if self.control is not None:
            try:
                self.control.send({"op": op}, descriptors or [], wait=False)
            except wire.Closed:
                self.vacate()

    def hear(self) -> bool:
        """Read what made the control end readable. False: the keeper is dead; the seat is empty now."""
        if self.control is not None:
            try:
                self.control.receive()
            except wire.Closed:
                self.vacate()
        return self.control is not None

    def vacate(self) -> None:
        """Forget a dead keeper."""
        if self.control is not None:
            self.control.close()
            self.control = None
            now = time.monotonic()
            self.due = now + self._backoff.after(now - self._filled)

    def descriptors(self) -> list[int]:
        """Return what a forked child must not keep."""
        return [one.fileno() for one in (self.control, self._waiting) if one is not None]

    def close(self) -> None:
        """Let go of the keeper: it ends when it is idle."""
        for one in (self.control, self._waiting):
            if one is not None:
                one.close()
        self.control = self._waiting = None
