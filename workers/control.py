"""The control worker: `python -m workers.control`, or `celery -A workers.control worker -Q iacq.control`; beat too."""

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


def main() -> None:
    """Run a control worker."""
    log.set_up(settings.log_format)
    process.make_undumpable()
    arguments = ["worker", "--pool=threads", f"--concurrency={THREADS}", f"--queues={CONTROL_QUEUE}"]
    arguments += ["--hostname=control@%h", "--without-gossip", "--without-mingle"]
    app.worker_main([*arguments, *sys.argv[1:]])


if __name__ == "__main__":
    main()
