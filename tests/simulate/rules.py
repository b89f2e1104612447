"""Rules that say how many pods there should be: iacq's, and what others use."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from iacq.domain import pod_failures, scaling
from iacq.domain.pool import Demand, PoolPod, PoolPolicy
from iacq.domain.slot import PodStatus
from tests.simulate.patterns import MINUTE, SECOND

BEAT = 5 * SECOND


@dataclass(frozen=True, kw_only=True)
class Orders:
    create: int = 0
    drain: Sequence[str] = ()  # idle pods
    stop: Sequence[str] = ()  # pods whatever they do
    give_up: int = 0
    again_at: int | None  # look again then, ms; None: when something has changed


class Rule(Protocol):
    name: str
    on_change: bool  # asked at every change too

    def decide(self, policy: PoolPolicy, demand: Demand, pods: Sequence[PoolPod], now: int) -> Orders: ...


class Iacq:
    """`iacq.domain.scaling`: asked when a run comes or ends, and by beat for what only time changes."""

    on_change = True

    def __init__(self, name: str, *, idle_grace_ms: int, headroom: int = 0) -> None:
        self.name = name
        self._headroom = headroom
        self._idle_grace_ms = idle_grace_ms

    def decide(self, policy: PoolPolicy, demand: Demand, pods: Sequence[PoolPod], now: int) -> Orders:
        policy = replace(policy, headroom=self._headroom, idle_grace_ms=self._idle_grace_ms)
        decided = scaling.decide_scaling(policy, demand, pods, frozen=False, failures=pod_failures.NONE, now=now)
        ends = [
            pod.idle_since + policy.idle_grace_ms for pod in pods if pod.status is PodStatus.ONLINE and not pod.held
        ]
        later = min((end for end in ends if end > now), default=None)
        return Orders(
            create=decided.create,
            drain=decided.drain,
            give_up=decided.give_up,
            again_at=None if later is None else -(-later // BEAT) * BEAT,
        )


class QueueLength:
    """ceil(waiting runs / slots), the highest of five minutes, as autoscalers on queue lengths do.

    It does not know what a pod holds: the youngest go first, with the 30 s that Kubernetes gives a pod.
    """

    name = "ceil(queue / slots)"
    on_change = False

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque()

    def decide(self, policy: PoolPolicy, demand: Demand, pods: Sequence[PoolPod], now: int) -> Orders:
        self._seen.append((now, -(-demand.queue_depth // policy.slots_per_pod)))
        while self._seen[0][0] <= now - 5 * MINUTE:
            self._seen.popleft()
        desired = min(policy.max_pods, max(pods for _, pods in self._seen))
        youngest = sorted(_present(pods), key=lambda pod: -pod.created_at)
        stop = [pod.name for pod in youngest[: max(0, len(youngest) - desired)]]
        return Orders(create=max(0, desired - len(youngest)), stop=stop, again_at=now + 15 * SECOND)


class Utilisation:
    """One pod more from 80 % of the slots in use, one less up to 20 %, never below one; only an idle one goes."""

    name = "±1 at 80 % / 20 %"
    on_change = False

    def decide(self, policy: PoolPolicy, demand: Demand, pods: Sequence[PoolPod], now: int) -> Orders:
        present = _present(pods)
        slots = sum(len(pod.slots) for pod in present)
        used = sum(pod.held for pod in present) / slots if slots else 0
        idle = [pod.name for pod in present if not pod.held and pod.status is PodStatus.ONLINE]
        again = now + 30 * SECOND
        if not present or (used >= 0.8 and len(present) < policy.max_pods):
            return Orders(create=1, again_at=again)
        if used <= 0.2 and len(present) > 1:
            return Orders(drain=idle[:1], again_at=again)
        return Orders(again_at=again)


def _present(pods: Sequence[PoolPod]) -> list[PoolPod]:
    return [pod for pod in pods if pod.status in (PodStatus.STARTING, PodStatus.ONLINE)]
