"""What a rule cost and how long runs waited; and the bill of somebody who knows the future."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from iacq.domain.run import Status
from tests.bench.figure import quantile
from tests.simulate.engine import SLOTS_PER_POD, Outcome, Simulation
from tests.simulate.patterns import HOUR, SECOND, Pattern
from tests.simulate.rules import Iacq, Rule


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one rule did on one pattern."""

    rule: str
    wait_p50: float  # s, for a slot
    wait_p95: float  # s
    pod_hours: float
    to_clairvoyant: float  # ratio of pod-hours
    lost: int  # reservations that went with their pod
    given_up: int  # reservations given up at the maximum
    killed: int  # running phases that were killed with their pod
    interrupted: int  # of those, applies: nobody knows what they did


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What somebody would pay who knows the future, lets nobody wait and keeps the same reservations."""

    least: float  # pod-hours if what is held could be moved between pods at any time: without waits, nothing costs less
    in_place: float  # pod-hours with the same choice of slots as iacq, pods being ready when needed and gone when empty


def foresee(pattern: Pattern, *, pod_start: int) -> Foreseen:
    """Replay with pods that start and go at once, then pay for the start of each."""
    outcome = Simulation(pattern, Iacq("clairvoyant", idle_grace_ms=0), pod_start=0).run()
    steps = zip(outcome.held, [*outcome.held[1:], (pattern.until, 0)], strict=True)
    packed = [(start, end) for (start, held), (end, _) in steps for _ in range(-(-held // SLOTS_PER_POD))]
    return Foreseen(least=_bill(packed, pod_start) / HOUR, in_place=_bill(_lives(outcome), pod_start) / HOUR)


def measure(pattern: Pattern, rule: Rule, foreseen: Foreseen, *, pod_start: int) -> Measured:
    """Replay, and bill each pod from the moment it is asked for."""
    outcome = Simulation(pattern, rule, pod_start=pod_start).run()
    pod_hours = sum(end - start for start, end in _lives(outcome)) / HOUR
    return Measured(
        rule=rule.name,
        wait_p50=quantile(outcome.waits, 0.5) / SECOND,
        wait_p95=quantile(outcome.waits, 0.95) / SECOND,
        pod_hours=pod_hours,
        to_clairvoyant=pod_hours / foreseen.least,
        lost=outcome.lost,
        given_up=outcome.given_up,
        killed=outcome.killed,
        interrupted=outcome.statuses[Status.APPLY_INTERRUPTED],
    )


def _lives(outcome: Outcome) -> list[tuple[int, int]]:
    """Return from when to when each pod was there, ms."""
    return [(pod.created_at, outcome.until if pod.ended_at is None else pod.ended_at) for pod in outcome.fleet.all]


def _bill(pods: Iterable[tuple[int, int]], pod_start: int) -> int:
    """Return the least pod-ms for so many pods at each time, with the start of each.

    A pod is kept where another one would be wanted sooner than a start takes. Pods are alike, so the curve of their
    number is cut into levels: pod n is there while at least n are needed.
    """
    levels: list[list[tuple[int, int]]] = []
    for (start, number), (end, _) in itertools.pairwise(_curve(pods)):
        while len(levels) < number:
            levels.append([])
        for level in levels[:number]:
            if level and start - level[-1][1] <= pod_start:
                level[-1] = (level[-1][0], end)
            else:
                level.append((start, end))
    return sum(end - start + pod_start for level in levels for start, end in level)


def _curve(pods: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return (when, number of pods from then on)."""
    changes: dict[int, int] = {}
    for start, end in pods:
        changes[start] = changes.get(start, 0) + 1
        changes[end] = changes.get(end, 0) - 1
    number, curve = 0, []
    for at in sorted(changes):
        number += changes[at]
        curve.append((at, number))
    return curve
