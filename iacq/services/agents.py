"""What a pod says of itself: it is there, it goes."""

from __future__ import annotations

from iacq import log
from iacq.domain.slot import Place, Slot
from iacq.messages import DISPATCH
from iacq.services.core import Core
from iacq.services.recovering import settle_slots
from iacq.store import pods, slots
from iacq.store.pods import Registration
from iacq.store.session import Transaction

logger = log.get(__name__)


def register(core: Core, new: Registration) -> None:
    """Make this boot the pod's. What waited in its slots from before goes elsewhere; what ran is judged by its lease,
    or by the slot process that finds it.
    """
    held = core.database.run(pods.register, new)
    settle_slots(core, held)
    logger.info("registered", extra=log.ids(pod=new.pod_name, agent=new.agent_id, slots=new.slots))


def drain_slot(core: Core, place: Place) -> None:
    """Close a slot whose process was told to stop; what waits in it goes elsewhere."""
    held = core.database.run(_close, place)
    settle_slots(core, held)
    core.ring_control(DISPATCH)


def _close(tx: Transaction, place: Place) -> list[Slot]:
    slots.drain(tx, place)
    slot = slots.at(tx, place.pod_name, place.slot_id)
    return [slot] if slot is not None and slot.run_id is not None and slot.agent_id == place.agent_id else []


def leave(core: Core, new: Registration) -> None:
    """Say that this boot ends, after its slots did. A slot that is held keeps its row until the run is judged."""
    held = core.database.run(pods.set_offline, new.pod_name, new.agent_id)
    settle_slots(core, held)
    core.database.run(pods.forget, new.pod_name, new.agent_id)
    core.ring_control(DISPATCH)
