"""Find runs whose worker came to nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from iacq import log
from iacq.domain import agent_health, transitions
from iacq.domain.agent_health import Health, Patience
from iacq.domain.run import Run, Status
from iacq.domain.slot import Closed, Pod, Slot, SlotStatus
from iacq.errors import Unavailable
from iacq.messages import ANSWER, DISPATCH
from iacq.services.core import Apart, Core
from iacq.store import control, counts, participation, pod_lifecycle, pods, runs, slots
from iacq.store.protocol import recovering, waiting
from iacq.store.session import Transaction

logger = log.get(__name__)


@dataclass
class LeaseWatch:
    """What this control process saw expired, and since when on its own monotonic clock.

    A lease is lost only if one process saw the same (fence, lease) expired twice, some time apart, with no database
    error between: an outage or a failover, during which nobody could renew, makes no lease expire. A server that only
    answers questions is away too.
    """

    seen: dict[int, tuple[int, int | None, float]] = field(default_factory=dict)

    def confirmed(self, expired: list[Run], now: float, apart: float) -> list[Run]:
        """Return those of `expired` that were seen like this at least `apart` seconds ago; remembers the others."""
        known, self.seen = self.seen, {}
        lost = []
        for run in expired:
            fence, lease, since = known.get(run.id, (run.fence, run.lease_until, now))
            if (fence, lease) != (run.fence, run.lease_until):
                since = now
            if now - since >= apart:
                lost.append(run)
            self.seen[run.id] = (run.fence, run.lease_until, since)
        return lost

    def forget(self) -> None:
        """Begin anew: the database did not answer."""
        self.seen.clear()


def recover(core: Core, watch: LeaseWatch) -> int:
    """Take runs from owners that stopped renewing; returns how many."""
    try:
        core.database.run(control.beat)  # fails where nobody can renew, though questions may be answered
        expired = core.database.read(recovering.expired_leases)
        lost = watch.confirmed(expired, core.clock.monotonic(), core.settings.lease_confirm)
        taken = [_lose_lease(core, run) for run in lost]
        freed = core.database.run(_free_stale_slots)
    except Unavailable:
        watch.forget()
        raise
    for run in taken:
        if run is not None:
            logger.warning("lease lost: now %s", run.status, extra=log.ids(run=run.id, workspace=run.workspace))
    changed = sum(run is not None for run in taken) + freed
    if changed:
        core.ring_control(DISPATCH)
    return changed


def _lose_lease(core: Core, run: Run) -> Run | None:
    with Apart(run=run.id, workspace=run.workspace):
        return core.database.attempt(recovering.lose_lease, run)
    return None


def _free_stale_slots(tx: Transaction) -> int:
    """Slot rows follow run rows: free what an ended or pending run still holds."""
    settled = {*transitions.ENDED, Status.PENDING}
    return sum(slots.release_at(tx, slot) for slot, status in slots.stale(tx) if status in settled)


def check_agents(core: Core) -> int:
    """Take work from pods that are silent or too old, and slots that do not answer; returns how many runs it took.

    What is planning or applying is not touched: its lease judges.
    """
    changed = 0
    silent, late = core.database.read(_unheard, core.patience)
    for pod in silent:
        held = core.database.run(pods.set_offline, pod.name, pod.agent_id or "")
        logger.warning("agent is silent: offline", extra=log.ids(pod=pod.name))
        changed += settle_slots(core, held)
    for run in late:
        with Apart(slot=run.queue, run=run.id):
            changed += _take_back(core, run)
    changed += _drain_too_old(core)
    _ask_closed_slots(core)
    if changed:
        core.ring_control(DISPATCH)
    return changed


def _drain_too_old(core: Core) -> int:
    """Let pods get no work any more that are older than the database demands; what runs there ends there."""
    changed = 0
    for name, reason in core.database.read(participation.too_old):
        with Apart(pod=name):
            held = core.database.attempt(pod_lifecycle.drain, name, reason=reason)
            logger.warning("draining: %s", reason, extra=log.ids(pod=name))
            changed += settle_slots(core, held or [])
    return changed


def _take_back(core: Core, run: Run) -> bool:
    if core.database.attempt(waiting.take_back, run, close_slot=Closed.NOT_ANSWERING) is None:
        return False
    logger.warning("did not claim in time: closed until it answers", extra=log.ids(slot=run.queue, run=run.id))
    return True


def settle_slots(core: Core, held: list[Slot]) -> int:
    """Give back what waits in these slots: reservations, and queued runs; returns how many."""
    settled = 0
    for slot in held:
        with Apart(slot=slot.queue, run=slot.run_id):
            settled += _settle_slot(core, slot)
    return settled


def _settle_slot(core: Core, slot: Slot) -> bool:
    run = core.database.read(runs.get, slot.run_id or 0)
    if run is None:
        return False
    if run.status in transitions.QUEUED:
        return core.database.attempt(waiting.take_back, run) is not None
    if slot.status is not SlotStatus.RESERVED:
        return False
    core.database.attempt(waiting.give_up_reservation, run, slot)
    return True


def _unheard(tx: Transaction, patience: Patience) -> tuple[list[Pod], list[Run]]:
    """Return the pods that fell silent, and the runs that are queued for a slot that does not answer, or is gone."""
    now = counts.now_ms(tx)
    silent = [
        pod for pod in pods.counted_as_there(tx) if agent_health.judge(pod, now=now, patience=patience) is Health.SILENT
    ]
    queued = runs.listed(tx, statuses=transitions.QUEUED)
    held = {slot.run_id: slot for slot in slots.held_by_any(tx, [run.id for run in queued])}
    late = [
        run
        for run in queued
        if run.id not in held or not agent_health.answers(held[run.id], run, now=now, patience=patience)
    ]
    return silent, late


def _ask_closed_slots(core: Core) -> None:
    """Ring slots that were closed for not answering, now and then: whoever handles it opens its slot again."""
    for slot in core.database.run(slots.take_unasked, every_ms=int(core.settings.claim_timeout * 500)):
        try:
            core.dispatcher.ring_slot(slot.queue, ANSWER)
        except Unavailable:
            return


def expire_plans(core: Core) -> int:
    """Discard plans that nobody confirmed in time, and end reservations that lasted long enough."""
    changed = 0
    for run in core.database.read(runs.listed, statuses=[Status.APPLY_PENDING]):
        with Apart(run=run.id, workspace=run.workspace):
            changed += _expire(core, run)
    if changed:
        core.ring_control(DISPATCH)
    return changed


def _expire(core: Core, run: Run) -> bool:
    if core.database.attempt(waiting.expire, run) is not None:
        logger.info("plan expired", extra=log.ids(run=run.id, workspace=run.workspace))
        return True
    slot = core.database.read(slots.held_by_since, run.id, older_than_ms=int(core.settings.reserve_for * 1000))
    return slot is not None and core.database.attempt(waiting.give_up_reservation, run, slot, final=True) is not None
