"""Control worker and beat: `python -P -m workers.control [beat]`, or `celery -A workers.control worker|beat …`."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

from beat_schedule import BEAT_SCHEDULE
from iacq import bootstrap, log, tasks
from iacq.keeper import process
from iacq.messages import CONTROL_QUEUE
from iacq.settings import load

if TYPE_CHECKING:
    from iacq.services.core import Core

THREADS = 4
"""Jobs at once: a slow one must not hold up dispatching."""

settings = load()
app = bootstrap.worker_app(settings)
app.conf.beat_schedule = BEAT_SCHEDULE
app.conf.task_default_queue = CONTROL_QUEUE


@functools.cache
def core() -> Core:
    """Build what the jobs need, at the first one."""
    return bootstrap.worker_core(settings, pool_size=THREADS)


tasks.register_control(app, core)


BEAT = ["beat", "--scheduler=celery.beat:Scheduler", "--pidfile="]
"""Arguments of Celery for beat: no schedule file, no pid file, so that a read-only root works."""


def main() -> None:
    """Run a control worker; with the argument `beat`, the clock that rings the control workers."""
    log.set_up(settings.log_format)
    process.make_undumpable()
    if sys.argv[1:2] == ["beat"]:
        app.start([*BEAT, *sys.argv[2:]])
        return
    arguments = ["worker", "--pool=threads", f"--concurrency={THREADS}", f"--queues={CONTROL_QUEUE}"]
    arguments += ["--hostname=control@%h", "--without-gossip", "--without-mingle"]
    app.worker_main([*arguments, *sys.argv[1:]])


if __name__ == "__main__":
    main()
