"""One slot's process: a Celery node `slotN@pod` that consumes only `pod.N`, one phase at a time."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from celery.signals import worker_shutting_down
from celery.worker import state

from iacq import bootstrap, log, tasks
from iacq.domain.slot import Place
from iacq.errors import Unavailable
from iacq.keeper import grace
from iacq.keeper.child import INTERRUPT
from iacq.messages import slot_queue
from iacq.services import agents
from iacq.services.phases import unfinished
from iacq.services.phases.context import SlotWorker
from iacq.settings import Settings
from iacq.store import slots
from iacq.store.pods import Registration

if TYPE_CHECKING:
    from iacq.keeper.child import ChildContext

T = TypeVar("T")
logger = log.get(__name__)

_SETTLE_AGAIN = 0.25
"""Seconds between two looks at what a predecessor left, while something of it is alive."""
_LOOK = 1.0
"""Seconds between two looks whether the keeper is there."""
_CLOSE = 5.0
"""Seconds that a process with nothing to do waits until its slot is closed: on an idle machine that takes 20 ms."""
_CLOSE_AGAIN = 0.5
"""Seconds between two attempts to close it."""
_IDLE = 300.0
"""Seconds without a bell after which an idle slot closes its database connections."""


def run(settings: Settings, pod: Registration, context: ChildContext) -> None:
    """Be this slot until SIGTERM. Called in a freshly forked process."""
    if context.slot_id is None or context.keeper_socket is None or context.bell is None:
        raise ValueError(f"{context.name} is not a slot")
    place = Place(pod_name=pod.pod_name, slot_id=context.slot_id, agent_id=pod.agent_id, boot=context.boot)
    worker = bootstrap.slot_worker(settings, place, context.keeper_socket)
    stopping = _Stopping(worker, settings.stop_grace)
    if context.stop_at is not None:
        stopping.begin(context.stop_at)  # started only to finish what its predecessor ran
    threading.Thread(target=_listen, args=(worker, context.bell), name="bell", daemon=True).start()
    threading.Thread(target=_settle, args=(worker,), name="settle", daemon=True).start()
    exitcode = _consume(settings, worker, stopping) if context.stop_at is None else os.EX_OK
    _finish(worker)
    stopping.wait_closed()
    sys.exit(exitcode)


def _listen(worker: SlotWorker, bell: int) -> None:
    """Hear housekeeping's bell: a running phase renews its lease at once, an idle slot looks whether it may open."""
    heard = worker.core.clock.monotonic()
    owed = False  # a bell that was heard during a phase is answered after it: the pod may have registered anew
    while worker.stop_at is None:
        ready, _, _ = select.select([bell], [], [], _LOOK)
        if ready:
            heard = worker.core.clock.monotonic()
            os.read(bell, 4096)
            worker.nudge()
            owed = True
        elif worker.lease is not None:
            heard = worker.core.clock.monotonic()
        elif worker.core.clock.monotonic() - heard >= _IDLE:
            heard = worker.core.clock.monotonic()
            _quietly(_rest, worker)
        if owed or worker.look_again:
            owed = not _quietly(_answer, worker)
        if worker.keeper.gone and worker.lock.acquire(blocking=False):
            # Idle, and without a keeper it can start nothing: its successor gets a new one.
            logger.warning("the keeper is gone: starting anew", extra=log.ids(slot=worker.place.queue))
            os._exit(1)


def _rest(worker: SlotWorker) -> None:
    """A slot that is idle for long, and kept for no run, holds no connection."""
    slot = worker.core.database.read(slots.at, worker.place.pod_name, worker.place.slot_id)
    if slot is None or slot.run_id is None:
        worker.core.database.close()


def _settle(worker: SlotWorker) -> None:
    """Deal with the predecessor's work, then open the slot and connect, so that the first bell finds all ready."""
    while worker.stop_at is None and not _quietly(_answer, worker):
        time.sleep(_SETTLE_AGAIN)
    _quietly(_connect, worker)


def _connect(worker: SlotWorker) -> None:
    worker.core.database.warm()
    bootstrap.warm_quietly(worker.core)


def _answer(worker: SlotWorker) -> bool:
    """Open the slot if nothing of an earlier run is left; tells whether it is open."""
    if not worker.lock.acquire(blocking=False):
        return False
    try:
        return unfinished.settle(worker) and unfinished.open_slot(worker)
    finally:
        worker.lock.release()


def _quietly(job: Callable[[SlotWorker], T], worker: SlotWorker) -> T | None:
    try:
        return job(worker)
    except Unavailable as error:
        logger.warning("%s", error.message)
    except Exception:  # whatever it is: this thread, and what waits for it, must not end of it
        logger.exception("this will be tried again")
    return None


class _Stopping:
    """What requests to stop mean: no new work at once, an interrupt of what runs later, or now if asked again."""

    def __init__(self, worker: SlotWorker, stop_grace: float) -> None:
        """Hear them from now on: a predecessor's apply may be adopted before Celery listens."""
        self._worker = worker
        self._stop_grace = stop_grace
        self._agent = os.getppid()
        self._drain = threading.Thread(target=_drain, args=(worker,), name="drain", daemon=True)
        signal.signal(signal.SIGTERM, self._stop_before_celery)
        signal.signal(INTERRUPT, self._interrupt)

    def stop(self, **_: object) -> None:
        """Close the slot, and let what runs go on for a part of the grace."""
        if os.getppid() != self._agent:
            # Killed with the agent: nobody asked the pod to stop. Terraform goes on under its keeper, and the process
            # that comes next in this place takes it over.
            os._exit(1)
        if self._drain.ident is None:
            self.begin(self._worker.core.clock.monotonic() + grace.running_may_last(self._stop_grace))
        else:
            self._interrupt()

    def begin(self, stop_at: float) -> None:
        """Take no new work, and interrupt what runs at that time (monotonic seconds)."""
        self._stop_at(stop_at)
        self._drain.start()

    def wait_closed(self) -> None:
        """Wait until the slot is closed: others of the pod may work for long, and nothing may be sent here then."""
        if self._drain.ident is not None:
            self._drain.join(_CLOSE)

    def _stop_before_celery(self, *_: object) -> None:
        self.stop()
        state.should_stop = os.EX_OK  # Celery looks at it once it has started

    def _interrupt(self, *_: object) -> None:
        self._stop_at(self._worker.core.clock.monotonic())

    def _stop_at(self, stop_at: float) -> None:
        self._worker.stop_at = stop_at if self._worker.stop_at is None else min(stop_at, self._worker.stop_at)


def _consume(settings: Settings, worker: SlotWorker, stopping: _Stopping) -> int | None:
    """Be a Celery node until it is told to stop; returns its exit code."""
    place = worker.place
    app = bootstrap.worker_app(settings)
    tasks.register_slot(app, worker, lambda: _quietly(_answer, worker))
    worker_shutting_down.connect(stopping.stop, weak=False)
    queue = slot_queue(place.pod_name, place.slot_id)
    node = bootstrap.worker_node(app, f"slot{place.slot_id}@{place.pod_name}", queue)
    node.start()
    code: int | None = node.exitcode
    return code


def _finish(worker: SlotWorker) -> None:
    """See to the end of what Celery does not know of: an apply that was adopted, or that nobody follows yet."""
    with worker.lock:
        while not _quietly(unfinished.settle, worker) and worker.stop_at is not None and unfinished.is_left(worker):
            if worker.core.clock.monotonic() >= worker.stop_at:
                _quietly(_interrupt, worker)
            time.sleep(_SETTLE_AGAIN)  # nothing else is left to do in this process


def _interrupt(worker: SlotWorker) -> None:
    """Interrupt what could not be adopted. It ends with the pod: so it may save its state."""
    for directory in unfinished.running(worker):
        worker.keeper.interrupt(directory)


def _drain(worker: SlotWorker) -> None:
    while not _quietly(_close, worker):
        time.sleep(_CLOSE_AGAIN)  # a thread of its own: nothing else waits meanwhile but the end of the process


def _close(worker: SlotWorker) -> bool:
    agents.drain_slot(worker.core, worker.place)
    return True
