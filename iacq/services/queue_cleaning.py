"""Remove the queues of pods that will not come back: Redis keeps them for ever."""

from __future__ import annotations

from iacq import log
from iacq.services import cleaning
from iacq.services.core import Apart, Core

logger = log.get(__name__)


def remove_queues(core: Core) -> int:
    """Remove the queues of pods that the database does not know and no run names; returns of how many pods.

    If one of them lives all the same, and is only about to register, it loses at most bells that are rung again.
    Raises Unavailable.
    """
    with_queues = core.dispatcher.pods_with_queues()
    removed = 0
    for pod_name in sorted(with_queues - core.database.read(cleaning.needed_pods)) if with_queues else ():
        with Apart(pod=pod_name):
            removed += core.dispatcher.forget_pod(pod_name)
    if removed:
        logger.info("the queues of %d pods that are gone were removed", removed)
    return removed
