"""What faults act on, and what is known of it while they do."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import redis

from iacq.domain import transitions
from iacq.domain.run import Status
from iacq.errors import IacqError, Unavailable
from iacq.messages import slot_queue
from tests.acceptance import fleet
from tests.chaos.database import Victim
from tests.chaos.journal import Journal
from tests.chaos.plant import PROGRAMS, Plant
from tests.chaos.pod import Pod
from tests.chaos.resender import Resender

T = TypeVar("T")
WORKING = transitions.RUNNING | transitions.QUEUED | {Status.APPLY_INTERRUPTED}


class Skipped(Exception):  # noqa: N818 - it says what happened
    """This fault cannot be done now."""


@dataclass(kw_only=True)
class Scene:
    """The system with the means to torment it. Used by one thread."""

    plant: Plant
    victim: Victim
    journal: Journal
    resender: Resender
    ended: list[str] = field(default_factory=list)  # programs that ended by themselves
    _away: set[str] = field(default_factory=set)
    _frozen: set[str] = field(default_factory=set)  # pools that should be frozen no more

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Keep other faults from the same thing meanwhile. Raises Skipped."""
        if name in self._away:
            raise Skipped(f"{name} is away already")
        self._away.add(name)
        try:
            yield
        finally:
            self._away.discard(name)

    def choose(self, what: str, found: list[T], pick: int) -> T:
        """Return one of them. Raises Skipped."""
        if not found:
            raise Skipped(f"there is no {what}")
        return found[pick % len(found)]

    def pod(self, pick: int) -> Pod:
        """Choose a pod, mostly one where terraform applies. Raises Skipped."""
        pods = self.plant.pods()
        busy = [pod for pod in pods if pod.applying()] if pick % 4 else []
        return self.choose("pod", busy or pods, pick)

    def program(self, kind: str, pick: int) -> str:
        """Choose a running program of a kind: `control`, `beat` or `host`. Raises Skipped."""
        running = [name for name in PROGRAMS if name.startswith(kind) and name in self.plant.programs]
        return self.choose(kind, running, pick)

    def met(self, pod: Pod, slot: int | None = None) -> set[int]:
        """Return the runs that are in a pod or slot now: as the database says, else as the files there do."""
        queue = pod.name if slot is None else slot_queue(pod.name, slot)
        with contextlib.suppress(IacqError):
            self.require_database()
            listed = self.plant.client.list(status=WORKING, limit=None)
            places = ((run.id, run.queue or slot_queue(run.pod_name or "", run.slot_id or 0)) for run in listed)
            here = {run for run, place in places if place == queue or place.startswith(f"{queue}.")}
            return here | pod.running(slot)
        return pod.known(slot)

    def require_database(self) -> None:
        """Raise Unavailable while it is away: asking it would take a while, and other faults are to come."""
        if "database" in self._away:
            raise Unavailable("the database is away")

    @contextlib.contextmanager
    def paused(self, *pids: int) -> Iterator[None]:
        """Stop processes; outside a transaction where that would keep everybody out."""
        if "database" in self._away:  # nobody is within a transaction that writes
            fleet.send(fleet.signal.SIGSTOP, pids)
            try:
                yield
            finally:
                fleet.send(fleet.signal.SIGCONT, pids)
            return
        with self.plant.suspended(*pids):
            yield

    def broker(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.plant.broker.socket), socket_timeout=2)

    def lift(self, pool: str) -> None:
        """Lift a freeze, as soon as the database answers."""
        self._frozen.add(pool)
        self.tend()

    def tend(self) -> None:
        """Start again what ended by itself, and lift what is to be lifted."""
        for name, program in list(self.plant.programs.items()):
            if program.poll() is not None:
                self.ended.append(f"{name} ended with {program.returncode}")
                del self.plant.programs[name]
                self.plant.launch(name)
        for pool in list(self._frozen):
            with contextlib.suppress(IacqError):
                self.require_database()
                self.plant.client.lift_freeze(pool, reason="chaos")
                self._frozen.discard(pool)

    @property
    def settled(self) -> bool:
        """Tell whether nothing is left to be lifted or to come back."""
        return not self._frozen and not self._away

    @property
    def ballast(self) -> str:
        """The file that fills the disk."""
        return os.path.join(self.plant.settings.work_root, "ballast")
