"""The Celery tasks. Each decodes its arguments and calls one service: the database decides, not the message."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from iacq import log, messages
from iacq.domain.run import Phase, Run, Status
from iacq.domain.slot import PodStatus
from iacq.errors import PhaseFailed
from iacq.services import calls, dispatching, freezing, queue_cleaning, recovering, retaining, tallying, warming
from iacq.services.core import Core
from iacq.services.dispatching import Remembered
from iacq.services.phases import runner, warmup
from iacq.services.phases.context import SlotWorker
from iacq.services.pod_manager import PodManager
from iacq.services.recovering import LeaseWatch
from iacq.store import control, pods

if TYPE_CHECKING:
    from celery import Celery

_BEAT_AGAIN = 1.0
"""Seconds between two signs of life of a control worker, however often it is rung."""


def register_control(app: Celery, core: Callable[[], Core], manager: Callable[[], PodManager | None]) -> None:
    """Define what control workers do: for callers, and every few seconds for beat."""
    watch, remembered = LeaseWatch(), Remembered()

    def define(name: str, job: Callable[[Core], Any]) -> None:
        def task() -> None:
            job(core())

        # Beat rings several of these each second: in Flower they would hide the runs. Their failures are told.
        app.task(task, name=name, send_events=False)

    seldom = log.Rarely(_BEAT_AGAIN)

    def dispatch(present: Core) -> None:
        if seldom(control.beat):
            present.database.run(control.beat)
        dispatching.dispatch(present, remembered)

    define(messages.DISPATCH, OneAtATime(dispatch))
    define(messages.RESEND, dispatching.resend)
    define(messages.RECOVER, lambda present: recovering.recover(present, watch))
    define(messages.CHECK_AGENTS, recovering.check_agents)
    define(messages.RECONCILE_PODS, OneAtATime(lambda _: _reconcile_pods(manager())))
    define(messages.BEGIN_WARMUPS, OneAtATime(warming.begin))
    define(messages.EXPIRE_WARMUPS, warming.expire)
    define(messages.TALLY, tallying.tally)
    define(messages.APPLY_FREEZE_WINDOWS, OneAtATime(freezing.apply_windows))
    define(messages.EXPIRE_PLANS, recovering.expire_plans)
    define(messages.RETENTION, OneAtATime(retaining.retain))
    define(messages.CLEANUP_WORK_DIRS, _clean_up)
    for name in messages.CALLS:
        _define_call(app, core, name)


def _define_call(app: Celery, core: Callable[[], Core], name: str) -> None:
    def call(*args: Any, **given: Any) -> dict[str, Any]:
        return calls.answer(core(), name, args, given)

    app.task(call, name=name, ignore_result=False)


def _reconcile_pods(manager: PodManager | None) -> None:
    if manager is not None:  # else pods are started by hand
        manager.reconcile_pods()


class OneAtATime:
    """A job that many ask for at once: one caller does it, one waits to do it again, the others need not.

    Whoever is turned away comes before the one that waits has begun, so that one sees all that they rang for.
    """

    def __init__(self, job: Callable[[Core], object]) -> None:
        self._job = job
        self._doing = threading.Lock()
        self._waiting = threading.Lock()

    def __call__(self, core: Core) -> None:
        """Do the job, unless somebody else is about to."""
        if not self._waiting.acquire(blocking=False):
            return
        with self._doing:
            self._waiting.release()
            self._job(core)


def _clean_up(core: Core) -> None:
    for pod in core.database.read(pods.listed):
        if pod.status not in (PodStatus.STARTING, PodStatus.OFFLINE):  # nobody is there: it would pile up
            core.dispatcher.ring_agent(pod.name, messages.REMOVE_WORK_DIRS)
    queue_cleaning.remove_queues(core)


def register_slot(app: Celery, worker: SlotWorker, answer: Callable[[], object]) -> None:
    """Define what a slot does: the phases of runs, and answering when it is asked whether it lives."""

    def phase(run_id: int, phase: str, attempt: int) -> None:
        _fail_if_failed(runner.answer_doorbell(worker, run_id, Phase(phase), attempt))

    def warm_up(run_id: int, retry: int) -> None:
        if warmup.answer_doorbell(worker, run_id, retry) is False:
            raise PhaseFailed(f"run {run_id} was not warmed up: see `iacq logs {run_id}`")

    def say_ready() -> None:
        answer()

    app.task(phase, name=messages.PLAN, throws=(PhaseFailed,))
    app.task(phase, name=messages.APPLY, throws=(PhaseFailed,))
    app.task(warm_up, name=messages.WARMUP, throws=(PhaseFailed,))
    app.task(say_ready, name=messages.ANSWER)


def _fail_if_failed(run: Run | None) -> None:
    """A failed run is a failed task, so that Flower is not all green. What terraform said is not for everybody."""
    if run is not None and run.status in (Status.FAILED, Status.APPLY_INTERRUPTED):
        raise PhaseFailed(f"run {run.id} {run.status} ({run.error_code}): see `iacq show {run.id}`")


def register_housekeeping(app: Celery, bells: dict[int, int], remove_work_dirs: Callable[[], None]) -> None:
    """Define what a pod's housekeeping node does: wake slots, remove directories."""

    def signal_run(run_id: int, slot_id: int) -> None:
        del run_id  # for people who look at Flower: the slot asks the database
        ring_bell(bells, slot_id)

    def remove() -> None:
        remove_work_dirs()

    app.task(signal_run, name=messages.SIGNAL_RUN)
    app.task(remove, name=messages.REMOVE_WORK_DIRS, send_events=False)  # every minute


def ring_bell(bells: Mapping[int, int], slot_id: int) -> None:
    """Wake a slot of this pod: a running phase renews its lease, an idle slot looks whether it may open."""
    if slot_id in bells:
        with contextlib.suppress(BlockingIOError):  # full: rung already
            os.write(bells[slot_id], b"!")
