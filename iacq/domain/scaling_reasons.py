"""Why a pool is scaled as it is, in words: the inputs, the rule and the result of a `scaling.Scaling`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from iacq.domain.pool import Demand, PoolPod, PoolPolicy
from iacq.domain.scaling import Scaling
from iacq.domain.slot import PodStatus


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One cause of what is done, or of what is not."""

    code: str  # rule, limited, frozen, pods, at_maximum, backing_off, giving_up, surplus, grace, result, ...: stable
    text: str  # for people


def explain(policy: PoolPolicy, demand: Demand, pods: Sequence[PoolPod], scaling: Scaling, *, now: int) -> list[Reason]:
    """Say what led to the decision: the rule with its inputs first, the result last."""
    return [
        Reason(code="rule", text=f"desired = {scaling.desired.rule}"),
        *_limits(policy, scaling),
        *_presence(pods, scaling),
        *_going_up(policy, demand, scaling, now=now),
        *_going_down(policy, pods, scaling, now=now),
        Reason(code="result", text=_result(scaling)),
    ]


def _limits(policy: PoolPolicy, scaling: Scaling) -> Iterator[Reason]:
    desired = scaling.desired
    if desired.limit == "frozen":
        yield Reason(code="frozen", text="the pool is frozen: no pod until that ends")
    elif desired.limit == "max":
        yield Reason(code="limited", text=f"needed: {_pods(desired.needed)}; the maximum is {policy.max_pods}")
    elif desired.limit == "min":
        yield Reason(code="limited", text=f"needed: {_pods(desired.needed)}; the minimum is {policy.min_pods}")


def _presence(pods: Sequence[PoolPod], scaling: Scaling) -> Iterator[Reason]:
    capacity = scaling.capacity
    by_status = {status: sum(pod.status is status for pod in pods) for status in PodStatus}
    there = ", ".join(f"{number} {status}" for status, number in by_status.items() if number) or "none"
    yield Reason(code="pods", text=f"pods: {there}; slots of use: {capacity.slots}, {capacity.free} of them free")
    if capacity.elsewhere:
        text = f"held in draining or offline pods, and in need of no other: {_runs(capacity.elsewhere)}"
        yield Reason(code="elsewhere", text=text)


def _going_up(policy: PoolPolicy, demand: Demand, scaling: Scaling, *, now: int) -> Iterator[Reason]:
    if scaling.retry_at is not None:
        text = f"the last pods failed; the next one is tried in {_seconds(scaling.retry_at - now)}"
        yield Reason(code="backing_off", text=text)
    lacking = demand.queue_depth - scaling.capacity.free
    if scaling.desired.limit == "frozen" or lacking <= 0:
        return
    if scaling.capacity.existing >= policy.max_pods:
        text = f"the pool is at its maximum, and without a slot: {_runs(lacking)}"
        yield Reason(code="at_maximum", text=text)
    if scaling.give_up:
        text = f"reservations to give up for them, the oldest first: {scaling.give_up}"
        yield Reason(code="giving_up", text=text)


def _going_down(policy: PoolPolicy, pods: Sequence[PoolPod], scaling: Scaling, *, now: int) -> Iterator[Reason]:
    left = [pod for pod in pods if pod.status is PodStatus.ONLINE and pod.name not in scaling.drain]
    surplus = len(left) - scaling.desired.pods
    if surplus <= 0:
        return
    held = sum(pod.held > 0 for pod in left)
    yield Reason(code="surplus", text=f"online beyond desired: {_pods(surplus)}; {held} of {len(left)} hold a run")
    ends = (pod.idle_since + policy.idle_grace_ms - now for pod in left if not pod.held)
    waiting = [end for end in ends if end > 0]
    if waiting:
        text = f"idle and within the grace: {_pods(len(waiting))}; the first may go in {_seconds(min(waiting))}"
        yield Reason(code="grace", text=text)


def _result(scaling: Scaling) -> str:
    steps = []
    if scaling.create:
        steps.append(f"start {scaling.create}")
    if scaling.drain:
        steps.append(f"drain {', '.join(scaling.drain)}")
    return f"desired {_pods(scaling.desired.pods)}: {', '.join(steps) or 'nothing to start or to drain'}"


def _pods(number: int) -> str:
    return f"{number} pod{'' if number == 1 else 's'}"


def _runs(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"


def _seconds(ms: int) -> str:
    return f"{(ms + 999) // 1000} s"
