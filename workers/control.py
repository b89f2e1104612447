"""Control worker and beat: `python -P -m workers.control [beat]`, or `celery -A workers.control worker|beat …`."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

from celery.signals import worker_init
from celery.utils.nodenames import default_nodename, host_format

from beat_schedule import BEAT_SCHEDULE
from iacq import bootstrap, log, tasks
from iacq.bootstrap import measured, pods
from iacq.messages import CONTROL_QUEUE
from iacq.services import key_check
from iacq.settings import load

if TYPE_CHECKING:
    from iacq.services.core import Core
    from iacq.services.pod_manager import PodManager

THREADS = 4
"""Jobs at once: a slow one must not hold up dispatching."""

settings = load()
app = bootstrap.control_app(settings)
app.conf.beat_schedule = BEAT_SCHEDULE
app.conf.beat_scheduler = "celery.beat:Scheduler"  # keeps no file, so that a read-only root works
app.conf.task_default_queue = CONTROL_QUEUE


@functools.cache
def core() -> Core:
    """Build what the jobs need, at the first one. With a wrong key every job fails, and says so."""
    made = bootstrap.worker_core(settings, pool_size=THREADS)
    key_check.require(made.database, made.sealer)
    return made


@functools.cache
def manager() -> PodManager | None:
    """Build what looks after the pods; None: they are started by hand."""
    return pods.manager(core())


tasks.register_control(app, core, manager)
worker_init.connect(lambda **_: measured.serve_control(core()), weak=False)


def main() -> None:
    """Run a control worker; with the argument `beat`, the clock that rings the control workers.

    Celery's own command line is not asked: it imports every plug-in, Flower among them.
    """
    log.set_up(settings.log_format)
    if sys.argv[1:] == ["beat"]:
        app.Beat(quiet=True, loglevel="INFO").run()
        return
    node = app.Worker(
        hostname=host_format(default_nodename("control@%h")),
        pool="threads",
        concurrency=THREADS,
        queues=[CONTROL_QUEUE],
        without_gossip=True,
        without_mingle=True,
        loglevel="INFO",
        quiet=True,
    )
    node.start()
    sys.exit(node.exitcode)


if __name__ == "__main__":
    main()
