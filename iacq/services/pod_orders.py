"""Letting pods go: what people, the scaler and a freeze ask for. Whoever runs the pods does it.

It is written down, and done by the manager's next look: nothing here talks to what runs pods.
"""

from __future__ import annotations

from iacq import log
from iacq.domain.slot import GOING, Pod, PodStatus
from iacq.errors import Conflict, NotFound
from iacq.messages import DISPATCH, RECONCILE_PODS
from iacq.services.core import Core
from iacq.services.recovering import settle_slots
from iacq.store import pod_lifecycle, pods, slots

logger = log.get(__name__)


def find(core: Core, name: str) -> Pod:
    """Return a pod. Raises NotFound."""
    found = core.database.read(pods.find, name)
    if found is None:
        raise NotFound(f"there is no pod {name[:100]!a}", field="pod", hint="`iacq pods` shows them")
    return found


def drain_if_idle(core: Core, name: str, *, reason: str) -> bool:
    """Close all slots of a pod in which nothing is held, in one step; tells whether that was so."""
    drained = core.database.attempt(pod_lifecycle.drain_if_idle, name, reason=reason) is not None
    if drained:
        logger.info("draining: %s", reason, extra=log.ids(pod=name))
    return drained


def drain(core: Core, name: str, *, reason: str) -> Pod:
    """Let a pod get no work any more: what runs there ends there, what waits there goes elsewhere. Then it goes.

    Draining it again changes nothing. One that was started by hand stays until its process is stopped.
    Raises NotFound.
    """
    if find(core, name).status not in GOING:
        held = core.database.attempt(pod_lifecycle.drain, name, reason=reason)
        settle_slots(core, held or [])
        logger.info("draining: %s", reason, extra=log.ids(pod=name))
    core.ring_control(DISPATCH)
    core.ring_control(RECONCILE_PODS)
    return find(core, name)


def delete(core: Core, name: str, *, reason: str, force: bool) -> Pod:
    """Let a pod go at once. Raises NotFound, and Conflict if something is held there: force ends that with it.

    Conflict too for a pod that was started by hand: iacq cannot end it.
    """
    found = find(core, name)
    if not found.managed:
        raise Conflict(
            f"pod {name} was started by hand",
            field="pod",
            hint="stop its process; a silent pod in which nothing is held is forgotten after an hour",
            code="not_managed",
        )
    if found.status is PodStatus.DELETING:
        return found
    step = pod_lifecycle.delete if force else pod_lifecycle.delete_if_empty
    done = core.database.attempt(step, name, reason=reason)
    held = core.database.read(slots.held_in, name)
    if done is None and held and not force:
        runs = ", ".join(str(slot.run_id) for slot in held)
        raise Conflict(
            f"pod {name} holds run {runs}" if len(held) == 1 else f"pod {name} holds runs {runs}",
            field="pod",
            hint=f"`iacq pod drain {name}` lets them end and then deletes it; --force stops what runs there",
            code="pod_in_use",
        )
    settle_slots(core, held)
    logger.info("deleting: %s", reason, extra=log.ids(pod=name))
    core.ring_control(DISPATCH)
    core.ring_control(RECONCILE_PODS)
    return find(core, name)
