"""The pods of a simulated pool."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from iacq.domain import versions
from iacq.domain.pool import PoolPod
from iacq.domain.slot import PodStatus, Slot, SlotStatus

POOL = "simulated"


@dataclass(kw_only=True)
class Pod:
    name: str
    created_at: int  # ms
    status: PodStatus = PodStatus.STARTING
    slots: list[Slot] = field(default_factory=list)
    ended_at: int | None = None
    seen: PoolPod | None = None  # as it is now, made when it is asked for


class Fleet:
    """Pods and what they hold. Keeps those that have gone, for the bill."""

    def __init__(self, slots_per_pod: int) -> None:
        self.all: list[Pod] = []
        self.free = 0  # slots that may be given
        self.held = 0  # slots in use or reserved
        self._slots_per_pod = slots_per_pod
        self._present: dict[str, Pod] = {}

    def create(self, now: int) -> Pod:
        pod = Pod(name=f"pod-{len(self.all):05}", created_at=now)
        self.all.append(pod)
        self._present[pod.name] = pod
        return pod

    def ready(self, pod: Pod, now: int) -> None:
        if pod.status is not PodStatus.STARTING or pod.ended_at is not None:
            return
        pod.status = PodStatus.ONLINE
        pod.slots = [
            Slot(
                pod_name=pod.name,
                slot_id=number,
                agent_id=pod.name,
                pool=POOL,
                status=SlotStatus.IDLE,
                run_id=None,
                task_type=None,
                closed=None,
                protocol=versions.PROTOCOL,
                updated_at=now,
            )
            for number in range(1, self._slots_per_pod + 1)
        ]
        pod.seen = None
        self.free += self._slots_per_pod

    def change(self, slot: Slot, status: SlotStatus, run: int | None, now: int) -> Slot:
        """Set the status of a slot that is as given; returns it as it is then."""
        pod = self._present[slot.pod_name]
        was_held, is_held = slot.status is not SlotStatus.IDLE, status is not SlotStatus.IDLE
        self.held += is_held - was_held
        if pod.status is PodStatus.ONLINE:
            self.free -= is_held - was_held
        changed = replace(slot, status=status, run_id=run, updated_at=now)
        pod.slots[slot.slot_id - 1] = changed
        pod.seen = None
        return changed

    def get(self, name: str) -> Pod:
        return self._present[name]

    def close(self, pod: Pod) -> None:
        """Give it no more work."""
        if pod.status is PodStatus.ONLINE:
            self.free -= sum(slot.status is SlotStatus.IDLE for slot in pod.slots)
        pod.status = PodStatus.DRAINING
        pod.seen = None

    def remove(self, pod: Pod, now: int) -> None:
        self.close(pod)
        pod.ended_at = now
        del self._present[pod.name]

    def open_slots(self) -> Iterator[Slot]:
        for pod in self._present.values():
            if pod.status is PodStatus.ONLINE:
                yield from pod.slots

    def seen(self) -> list[PoolPod]:
        """Return the pods as the rules see them."""
        found = []
        for pod in self._present.values():
            if pod.seen is None:
                pod.seen = PoolPod(name=pod.name, status=pod.status, slots=tuple(pod.slots), created_at=pod.created_at)
            found.append(pod.seen)
        return found
