"""Control worker and beat: `python -P -m workers.control [beat]`, or `celery -A workers.control worker|beat …`."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from celery.signals import after_task_publish, beat_init, worker_init
from celery.utils.nodenames import default_nodename, host_format
from celery.worker import state

from beat_schedule import BEAT_SCHEDULE
from iacq import bootstrap, log, tasks
from iacq.bootstrap import measured, pods
from iacq.bootstrap.measured import Pulse
from iacq.errors import Conflict, InvalidInput, Unavailable
from iacq.messages import CONTROL_QUEUE
from iacq.services import key_check, participating
from iacq.settings import load

if TYPE_CHECKING:
    from iacq.services.core import Core
    from iacq.services.pod_manager import PodManager

logger = log.get(__name__)

THREADS = 4
"""Jobs at once: a slow one must not hold up dispatching."""

settings = load()
pulse = Pulse(time.monotonic)
app = bootstrap.control_app(settings)
app.conf.beat_schedule = BEAT_SCHEDULE
app.conf.beat_scheduler = "celery.beat:Scheduler"  # keeps no file, so that a read-only root works
app.conf.task_default_queue = CONTROL_QUEUE


@functools.cache
def unchecked() -> Core:
    """Build what the jobs need."""
    return bootstrap.worker_core(settings, pool_size=THREADS)


@functools.cache
def checked() -> Core:
    """Return it with its version and its keys checked. If they are wrong the worker ends: none of its jobs would do."""
    made = unchecked()
    try:
        participating.require(made.database)
        key_check.require(made.database, made.sealer)
    except (Conflict, InvalidInput) as error:
        logger.critical("%s (%s)", error.message, error.hint)
        state.should_stop = 1  # Celery's own way out, in its main thread
        raise
    return made


def core() -> Core:
    """Return what a job needs, and note that this worker does one."""
    pulse.beat()
    return checked()


@functools.cache
def manager() -> PodManager | None:
    """Build what looks after the pods; None: they are started by hand."""
    return pods.manager(checked())


def begin() -> None:
    """Check the keys and serve metrics before anything is consumed. A database that is away is waited for."""
    try:
        measured.serve_control(unchecked(), app.refusals, pulse.silent)
        checked()
    except (Conflict, InvalidInput) as error:
        sys.exit(f"Error: {error.message} ({error.hint})")
    except Unavailable as error:
        logger.warning("%s; the first job asks again", error.message)


tasks.register_control(app, core, manager)
worker_init.connect(lambda **_: begin(), weak=False)


def stop_at_once(**_: object) -> None:
    """End beat on SIGTERM and SIGINT as it is. It keeps nothing, and a tick that is cut off is the next beat's.

    Celery raises SystemExit in its handler, which Python drops if it comes within a finalizer: beat would go on.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(os.EX_OK))


beat_init.connect(stop_at_once, weak=False)


def main() -> None:
    """Run a control worker; with the argument `beat`, the clock that rings the control workers.

    Celery's own command line is not asked: it imports every plug-in, Flower among them.
    """
    log.set_up(settings.log_format)
    if sys.argv[1:] == ["beat"]:
        after_task_publish.connect(pulse.beat, weak=False)
        measured.serve_beat(settings, pulse.silent)
        app.Beat(quiet=True, loglevel="INFO").run()
        return
    node = bootstrap.worker_node(app, host_format(default_nodename("control@%h")), CONTROL_QUEUE, threads=THREADS)
    node.start()
    sys.exit(node.exitcode)


if __name__ == "__main__":
    main()
