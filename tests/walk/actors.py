"""Processes in one thread: each pauses before every transaction, and at every step that it takes outside of one.

Nothing else happens between two pauses, so a history is the order in which actors go on: any interleaving of
transactions can be had, a process can stay paused for as long as one likes, and be killed wherever it is.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import greenlet

from iacq.errors import IacqError
from iacq.testing.clock import FakeClock


class Died(BaseException):
    """SIGKILL: nothing of the process runs any more, not even an `except Exception`."""


class Fault(enum.Enum):
    """What happens to the next transaction of an actor."""

    AWAY = "the database does not answer"
    LOST_ANSWER = "it is committed, and the answer is lost"


@dataclass(eq=False)
class Actor:
    """One thing that a process does, from its beginning to its end."""

    name: str
    owner: object  # the process that it belongs to, and dies with
    what: Callable[[], object]
    at: str = "begins"  # where it is paused
    writes: bool = False  # it is about to write
    steps: int = 0  # transactions so far
    fault: Fault | None = None
    dead: bool = False
    result: object = None
    refused: IacqError | None = None
    unforeseen: Exception | None = None
    greenlet: Any = field(default=None, repr=False)

    @property
    def ended(self) -> bool:
        return self.dead or self.greenlet.dead


class Stage:
    """All actors. Exactly one acts at a time; None of them: the one who decides what happens next."""

    def __init__(self) -> None:
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self._decider = greenlet.getcurrent()

    def start(self, name: str, owner: object, what: Callable[[], object]) -> Actor:
        """Begin something; it is paused before its first step."""
        actor = Actor(name=name, owner=owner, what=what)

        def act() -> None:
            try:
                actor.result = what()
            except IacqError as error:
                actor.refused = error
            except Died:
                actor.dead = True
            except Exception as error:  # noqa: BLE001 - whoever decides looks at it
                actor.unforeseen = error

        actor.greenlet = greenlet.greenlet(act, self._decider)  # also if another actor begins it
        self.actors.append(actor)
        return actor

    def go_on(self, actor: Actor) -> None:
        """Let it act until it pauses again, or ends."""
        self.current = actor
        try:
            actor.greenlet.switch()
        finally:
            self.current = None
        if actor.ended:
            self.actors.remove(actor)

    def kill(self, owner: object) -> list[str]:
        """End everything that a process does, where it is; returns what that was."""
        killed = [actor for actor in self.actors if actor.owner is owner]
        for actor in killed:
            self.actors.remove(actor)
            actor.dead = True
            if actor.greenlet:  # it has begun
                self.current = actor
                try:
                    actor.greenlet.throw(Died)
                finally:
                    self.current = None
        return [f"{actor.name} at {actor.at}" for actor in killed]

    def pause(self, at: str, *, writes: bool = False) -> None:
        """Let others act. Raises Died if the actor is killed meanwhile."""
        actor = self.current
        if actor is None:
            return
        if actor.dead:
            raise Died
        actor.at, actor.writes = at, writes
        self._decider.switch()

    def of(self, owner: object) -> list[Actor]:
        """Return what a process does."""
        return [actor for actor in self.actors if actor.owner is owner]

    def close(self) -> None:
        """End all actors."""
        while self.actors:
            self.kill(self.actors[0].owner)


class StageLock:
    """A lock between the threads of one process that are actors: whoever waits for it is paused."""

    def __init__(self, stage: Stage, clock: FakeClock) -> None:
        self._stage = stage
        self._clock = clock
        self._locked = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.Lock` does."""
        until = self._clock.monotonic() + timeout
        while self._locked:
            if not blocking or (timeout >= 0 and self._clock.monotonic() >= until):
                return False
            self._stage.pause("waits for its lock")
            if timeout >= 0:
                self._clock.advance(1)
        self._locked = True
        return True

    def release(self) -> None:
        self._locked = False

    def locked(self) -> bool:
        return self._locked

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class StageClock(FakeClock):
    """Time that moves when it is told to; whoever sleeps lets others act."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()

    def reset(self) -> None:
        """Begin anew; nothing is under way."""
        self.stage.close()
        self._passed_ms = 0

    def sleep(self, seconds: float) -> None:
        """Let others act, and that time pass."""
        self.stage.pause("sleeps")
        self.advance(seconds)
