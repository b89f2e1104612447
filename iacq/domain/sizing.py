"""How many connections a fleet at its maximum opens, for the limits of database and broker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from iacq.domain.pool import PoolPolicy

_DATABASE_OF_SLOT = 3  # phase, log and lease, while a run is busy
_DATABASE_OF_POD = 2  # its housekeeping
_DATABASE_OF_OTHERS = 20  # two control workers, and a few clients
_BROKER_OF_PROCESS = 6  # a slot's, or a pod's housekeeping: kombu's own and the worker's
_BROKER_OF_OTHERS = 40


@dataclass(frozen=True, kw_only=True)
class Connections:
    """What is open at most."""

    database: int
    broker: int


def count_connections(pools: Iterable[PoolPolicy]) -> Connections:
    """Return what pods of these pools open at most, with those who give them work."""
    sizes = [(policy.max_pods, policy.slots_per_pod) for policy in pools]
    return Connections(
        database=_DATABASE_OF_OTHERS
        + sum(pods * (slots * _DATABASE_OF_SLOT + _DATABASE_OF_POD) for pods, slots in sizes),
        broker=_BROKER_OF_OTHERS + sum(pods * (slots + 1) * _BROKER_OF_PROCESS for pods, slots in sizes),
    )
