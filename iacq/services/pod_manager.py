"""The pods of all pools: asked for, drained, deleted, and compared with what the runtime has.

The database says which pods there should be, the runtime which there are. The row of a pod comes first and goes last,
and each step looks again at where it stands: whoever is killed in the middle leaves something to go on with, and two
managers at once do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from iacq import log
from iacq.domain import agent_health, placement, pod_failures, pod_names, rolling, scaling
from iacq.domain.agent_health import Health
from iacq.domain.pool import Pool, PoolPod
from iacq.domain.run import Run
from iacq.domain.slot import GOING, Pod, PodStatus, Slot
from iacq.errors import Conflict, InvalidInput, Unavailable
from iacq.messages import DISPATCH, Doorbell
from iacq.ports import PodPhase, PodRuntime, PodSpec, PresentPod
from iacq.services import gone_pods, pod_orders
from iacq.services.core import Apart, Core
from iacq.services.recovering import settle_slots
from iacq.store import counts, freezes, pod_lifecycle, pods, pools, slots
from iacq.store.protocol import waiting
from iacq.store.session import DATABASE_UNAVAILABLE

logger = log.get(__name__)

_rarely = log.Rarely(60)

Scale = Callable[["PodManager", Pool], object]


class PodManager:
    """See the module."""

    def __init__(
        self,
        core: Core,
        runtime: PodRuntime,
        *,
        scale: Scale,
        make_name: Callable[[str], str] = pod_names.make_name,
    ) -> None:
        """scale: brings one pool to its size, through this manager. make_name: names a new pod of a pool."""
        self.core = core
        self._runtime = runtime
        self._scale = scale
        self._make_name = make_name

    # what the scaler does

    def create_pod(self, pool: Pool, *, existing: int) -> str | None:
        """Ask for one more pod; returns its name, or None if somebody else decided about this pool meanwhile.

        existing: how many pods it had when one was lacking, offline ones not counted. Raises Unavailable while the
        runtime does not answer: the pod is made when it does.
        """
        name = self._make_name(pool.name)
        asked = self.core.database.attempt(
            pod_lifecycle.ask, name, pool=pool.name, runtime=self._runtime.identity, existing=existing
        )
        if asked is None:
            return None
        logger.info("asked for a pod", extra=log.ids(pod=name, pool=pool.name))
        self._create(asked)
        return name

    def drain_pod(self, name: str, *, reason: str) -> bool:
        """Close a pod in which nothing is held, and let it go; tells whether it could be closed."""
        if not pod_orders.drain_if_idle(self.core, name, reason=reason):
            return False
        self._delete_drained(name)
        return True

    def delete_pod(self, name: str, *, reason: str, force: bool = False) -> None:
        """Let a pod go at once: what runs there is told to stop, and ends with it. Raises NotFound, Conflict.

        force: also if something is held there, by a run or for one.
        """
        pod_orders.delete(self.core, name, reason=reason, force=force)
        self._runtime.delete(name)

    def list_pods(self, pool: str) -> list[PoolPod]:
        """Return the pods of a pool with their slots."""
        return self.core.database.read(pods.of_pool, pool)

    def find_idle_pods(self, pool: Pool) -> list[PoolPod]:
        """Return the pods of a pool that nobody used for its idle grace, those of least use first."""
        return scaling.find_idle_pods(
            self.list_pods(pool.name),
            idle_grace_ms=pool.policy.idle_grace_ms,
            now=self.core.database.read(counts.now_ms),
        )

    # slots, one at a time: for services that place a run themselves (`dispatching` places many at once)

    def find_pod_with_free_slot(self, pool: str) -> Slot | None:
        """Return the free slot that a run of the pool should get: in the fullest pod."""
        return placement.choose_slot(pool, self.core.database.read(slots.listed, pool=pool))

    def assign_task_to_slot(self, run: Run, slot: Slot) -> Doorbell | None:
        """Queue a run for a slot, and ring; None if it or the slot is not as it was seen."""
        bell = self.core.database.attempt(waiting.dispatch, run, slot)
        self.core.ring(bell)
        return bell

    def release_slot(self, slot: Slot) -> bool:
        """Give back what waits in a slot: a reservation, or a queued run; tells whether something did."""
        return settle_slots(self.core, [slot]) > 0

    def get_slot_status(self, pod_name: str, slot_id: int) -> Slot | None:
        """Return a slot as it is now."""
        return self.core.database.read(slots.at, pod_name, slot_id)

    # every few seconds

    def reconcile_pods(self) -> None:
        """Bring rows and runtime together, then every pool to its size. Nothing happens while the runtime is away."""
        try:
            self.reconcile_worker_pods()
        except Unavailable as error:
            if error.code == DATABASE_UNAVAILABLE:
                raise
            if _rarely(error.code):
                logger.warning("%s; %s", error.message, error.hint)
            return
        self.reconcile_reserved_pods()
        for pool in self.core.database.read(pools.listed):
            with Apart(pool=pool.name):
                if pool.failures.count:
                    self._look_for_proof(pool)
                self._roll(pool)
                self._scale(self, pool)

    def _roll(self, pool: Pool) -> None:
        """Replace pods whose template is an older one. In a freeze they all go anyway."""
        if self.core.database.read(freezes.is_frozen, pool.name):
            return
        present = self.list_pods(pool.name)
        roll = rolling.decide_roll(pool, present)
        if roll.create:
            self.create_pod(pool, existing=sum(pod.status is not PodStatus.OFFLINE for pod in present))
        for name in roll.drain:
            pod_orders.drain(
                self.core, name, reason=f"replaced: the template of its pool is generation {pool.generation}"
            )

    def _look_for_proof(self, pool: Pool) -> None:
        """A pod that works ends the row of those that failed: one is enough."""
        now = self.core.database.read(counts.now_ms)
        for pod in self.core.database.read(pods.listed):
            if pod.pool == pool.name and pod.status is PodStatus.ONLINE:
                seen = {"created_at": pod.created_at, "online_since": pod.since}
                if pod_failures.after_online(pool.failures, **seen, now=now) != pool.failures:
                    self.core.database.run(pools.note_online, pool.name, asked_at=pod.created_at, since=pod.since)
                    return

    def reconcile_worker_pods(self) -> None:
        """Create what is missing, delete what is not wanted, free what is gone.

        A pod that the runtime has and the database has not is deleted: its row came first, so it was removed. A row
        proves nothing about a list from before it: what seems to be gone is looked at again.
        """
        runtime, database = self._runtime, self.core.database
        listed = runtime.present()
        rows = {pod.name: pod for pod in database.read(pods.listed)}
        for found in listed:
            if found.name not in rows and found.phase is not PodPhase.STOPPING:
                logger.warning("nobody wants this pod: deleted", extra=log.ids(pod=found.name))
                runtime.delete(found.name, uid=found.uid)
        ours = [pod for pod in rows.values() if pod.managed and pod.runtime == runtime.identity]
        missing = {pod.name for pod in ours} - {found.name for found in listed}
        if missing:
            listed = runtime.present(missing)
        present = {found.name: found for found in listed}
        self._mark(ours, present)
        for pod in ours:
            with Apart(pod=pod.name):
                self._reconcile(pod, present.get(pod.name))
        for name in database.run(
            pod_lifecycle.forget_strays, runtime=runtime.identity, older_than_ms=self.core.patience.forget
        ):
            logger.info("silent for long: forgotten", extra=log.ids(pod=name))

    def _mark(self, ours: Sequence[Pod], present: Mapping[str, PresentPod]) -> None:
        """Say of each pod whether runs need it, where that has changed. One that comes is needed by what waits.

        It is advice for an autoscaler: a cluster that does not take it keeps no pod from being looked after.
        """
        held = {slot.pod_name for slot in self.core.database.read(slots.listed) if slot.run_id}
        for pod in ours:
            found = present.get(pod.name)
            in_use = pod.name in held or pod.status is PodStatus.STARTING
            if found is not None and found.in_use not in (None, in_use):
                try:
                    self._runtime.mark(pod.name, uid=found.uid, in_use=in_use)
                except Conflict as error:
                    if _rarely("mark"):
                        logger.warning("not marked: %s", error.message, extra=log.ids(pod=pod.name))
                    return

    def reconcile_reserved_pods(self) -> None:
        """Release slots that are kept for a run in a pod that gets no work: it can be prepared in another one."""
        useless = {
            pod.name
            for pod in self.core.database.read(pods.listed)
            if pod.status in GOING or pod.status is PodStatus.OFFLINE
        }
        held = [slot for slot in self.core.database.read(slots.listed) if slot.run_id and slot.pod_name in useless]
        if settle_slots(self.core, held):
            self.core.ring_control(DISPATCH)

    def _reconcile(self, pod: Pod, found: PresentPod | None) -> None:
        if found is None:
            if pod.status is PodStatus.STARTING and pod.agent_id is None:
                if not self._await(pod, None):
                    self._create(pod)
            else:
                self._bury(pod)
        elif found.phase is PodPhase.FAILED:
            self._fail(pod, found)
        elif pod.status in GOING:
            self._let_go(pod, found)
        elif pod.status is PodStatus.STARTING:
            self._await(pod, found.reason)
        elif pod.status is PodStatus.OFFLINE:
            self._judge_silent(pod, found)

    def _create(self, pod: Pod) -> None:
        pool = self.core.database.read(pools.find, pod.pool)
        spec = PodSpec(
            name=pod.name,
            pool=pod.pool,
            slots=pod.slots,
            generation=pod.generation or 0,
            template=pool.template if pool else None,
        )
        try:
            self._runtime.create(spec)
        except (InvalidInput, Conflict) as error:
            logger.warning("cannot be created: %s", error.message, extra=log.ids(pod=pod.name, pool=pod.pool))
            self.core.database.attempt(pod_lifecycle.delete, pod.name, reason=error.message, failed=True)

    def _await(self, pod: Pod, reason: str | None) -> bool:
        """Look after a pod that has not registered; tells whether it was given up."""
        if self._judge(pod) is Health.AWAITED:
            self._explain(pod, reason)
            return False
        why = f"it did not register within {self.core.settings.pod_start_timeout:g} s" + (
            f": {reason}" if reason else ""
        )
        logger.warning("%s", why, extra=log.ids(pod=pod.name, pool=pod.pool))
        if self.core.database.attempt(pod_lifecycle.delete_if_empty, pod.name, reason=why, failed=True) is None:
            self.core.database.attempt(pod_lifecycle.give_up, pod.name, reason=why)
        return True

    def _fail(self, pod: Pod, found: PresentPod) -> None:
        """Delete a pod of which nothing is alive any more; its runs are judged when it is not listed any more.

        Also one that is draining, whatever is held in it: nothing there can end what it holds any more.
        """
        why = found.reason or "it failed"
        logger.warning("failed: %s", why, extra=log.ids(pod=pod.name, pool=pod.pool))
        unwanted = pod.status in GOING
        self.core.database.attempt(pod_lifecycle.delete, pod.name, reason=why, failed=not unwanted)
        self._runtime.delete(pod.name, uid=found.uid)

    def _judge_silent(self, pod: Pod, found: PresentPod) -> None:
        """A silent pod proves nothing: what may be alive in it keeps it."""
        if found.started_at is not None and found.started_at > pod.since:
            self.core.database.attempt(pod_lifecycle.start_again, pod.name)
            return
        if self._judge(pod) is Health.LOST:
            why = pod.reason or "its agent is silent"
            if self.core.database.attempt(pod_lifecycle.delete_if_empty, pod.name, reason=why) is not None:
                return
        if found.reason is not None:
            self._explain(pod, found.reason)

    def _judge(self, pod: Pod) -> Health:
        return agent_health.judge(pod, now=self.core.database.read(counts.now_ms), patience=self.core.patience)

    def _let_go(self, pod: Pod, found: PresentPod) -> None:
        if pod.status is PodStatus.DRAINING:
            settle_slots(self.core, self.core.database.read(slots.held_in, pod.name))
            self._delete_drained(pod.name)
        elif found.phase is not PodPhase.STOPPING:
            self._runtime.delete(pod.name, uid=found.uid)

    def _delete_drained(self, name: str) -> None:
        """draining → deleting, once nothing is held there."""
        found = self.core.database.read(pods.find, name)
        if found is None or not found.managed or found.runtime != self._runtime.identity:
            return  # whoever started it ends it
        why = found.reason or "drained"
        if self.core.database.attempt(pod_lifecycle.delete_if_empty, name, reason=why) is not None:
            self._runtime.delete(name)

    def _bury(self, pod: Pod) -> None:
        """Remove a pod that is gone; if nobody asked for that, it counts as a failure."""
        if pod.status is not PodStatus.DELETING:
            lost = pod.status not in GOING
            why = "it vanished" if lost else pod.reason or "drained"
            self.core.database.attempt(pod_lifecycle.delete, pod.name, reason=why, failed=lost)
        settled = gone_pods.settle(self.core, pod.name)
        if settled and self.core.database.attempt(pod_lifecycle.remove, pod.name) is not None:
            logger.info("gone: %s", pod.reason or "it vanished", extra=log.ids(pod=pod.name, pool=pod.pool))
        self.core.ring_control(DISPATCH)

    def _explain(self, pod: Pod, reason: str | None) -> None:
        if reason != pod.reason:
            self.core.database.run(pod_lifecycle.explain, pod.name, reason)
