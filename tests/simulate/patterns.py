"""What people ask for, and when: runs with their durations and the answers to their plans.

Durations are log-normal. Medians: plan 90 s, apply 60 s, an answer 4 minutes after the plan (one in twenty takes more
than half an hour). Of ten runs six may change something; of those 15 % are confirmed by policy at once, 10 % are
discarded after half an hour or so, and 4 % get no answer.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True, kw_only=True)
class Work:
    """One run. Times in ms."""

    at: int
    workspace: str
    changes_state: bool  # keeps its slot for an answer, and its workspace until it has ended
    plan: int
    apply: int
    answer: int | None  # after the end of the plan; None: never
    confirmed: bool  # the answer; else discarded


@dataclass(frozen=True, kw_only=True)
class Pattern:
    name: str
    until: int  # ms
    max_pods: int
    works: tuple[Work, ...]  # by time


def steady(seed: int) -> Pattern:
    """A day and night of runs every two minutes."""
    chance = random.Random(f"steady {seed}")
    works = [_work(chance, at) for at in _arrivals(chance, DAY, lambda _: 30)]
    return _pattern("steady", DAY, works)


def burst(seed: int) -> Pattern:
    """Three times in a quiet day somebody starts 60 runs at once: a pipeline over many workspaces."""
    chance = random.Random(f"burst {seed}")
    works = [_work(chance, at) for at in _arrivals(chance, DAY, lambda _: 3)]
    for start in (9 * HOUR, 14 * HOUR, 20 * HOUR):
        works += [_work(chance, start + chance.randrange(10 * SECOND)) for _ in range(60)]
    return _pattern("burst", DAY, works)


def working_day(seed: int) -> Pattern:
    """Midnight to midnight: up to 60 runs an hour, a dip at noon, little at night."""
    chance = random.Random(f"working-day {seed}")
    return _pattern("working-day", DAY, [_work(chance, at) for at in _arrivals(chance, DAY, _office_hours)])


def flood(seed: int) -> Pattern:
    """A working day on which 90 plans come in ten minutes that nobody reads: more than the pool has slots."""
    chance = random.Random(f"flood {seed}")
    works = [_work(chance, at) for at in _arrivals(chance, DAY, _office_hours)]
    for number in range(90):
        at = 10 * HOUR + chance.randrange(10 * MINUTE)
        works.append(_work(chance, at, workspace=f"flooded-{number}", unread=True))
    return _pattern("flood", DAY, works, max_pods=20)


def weekend(seed: int) -> Pattern:
    """Friday noon to Monday noon: what is left unread on Friday, two quiet days, and Monday's start."""
    chance = random.Random(f"weekend {seed}")

    def rate(at: int) -> float:
        hours = at / HOUR + 12  # of Friday
        quiet = 24 <= hours < 72
        return 1 if quiet else _office_hours(int(hours % 24 * HOUR))

    return _pattern("weekend", 3 * DAY, [_work(chance, at) for at in _arrivals(chance, 3 * DAY, rate)])


PATTERNS: dict[str, Callable[[int], Pattern]] = {
    "steady": steady,
    "burst": burst,
    "working-day": working_day,
    "flood": flood,
    "weekend": weekend,
}


def _pattern(name: str, until: int, works: list[Work], *, max_pods: int = 40) -> Pattern:
    ordered = tuple(sorted(works, key=lambda work: work.at))
    return Pattern(name=name, until=until, max_pods=max_pods, works=ordered)


def _office_hours(at: int) -> float:
    """Runs per hour at a time of the day."""
    points = [(0, 2), (6, 2), (9, 60), (12, 60), (12.5, 30), (13.5, 60), (17, 60), (19, 12), (22, 2), (24, 2)]
    hour = at / HOUR
    for (start, low), (end, high) in itertools.pairwise(points):
        if hour <= end:
            return low + (high - low) * (hour - start) / (end - start)
    return points[-1][1]


def _arrivals(chance: random.Random, until: int, rate: Callable[[int], float]) -> Iterator[int]:
    """Yield times of a Poisson process by thinning; rate: runs per hour, at most 60."""
    at = 0.0
    while (at := at + chance.expovariate(60 / HOUR)) < until:
        if chance.random() * 60 < rate(int(at)):
            yield int(at)


def _work(chance: random.Random, at: int, *, workspace: str | None = None, unread: bool = False) -> Work:
    kind = chance.random()
    automatic, discarded, unanswered = kind < 0.15, 0.15 <= kind < 0.25, kind >= 0.96
    answer = _about(chance, 30 * MINUTE, 1.0) if discarded else _about(chance, 4 * MINUTE, 1.2)
    return Work(
        at=at,
        workspace=workspace or f"workspace-{chance.randrange(150)}",
        changes_state=unread or chance.random() < 0.6,
        plan=_about(chance, 90 * SECOND, 0.6),
        apply=_about(chance, 60 * SECOND, 0.8),
        answer=None if unread or unanswered else 0 if automatic else answer,
        confirmed=not discarded,
    )


def _about(chance: random.Random, median: int, sigma: float) -> int:
    return int(chance.lognormvariate(math.log(median), sigma))
