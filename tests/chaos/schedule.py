"""Which fault happens when. Pure: the same seed, time and database give the same schedule."""

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What is done to the system."""

    KILL_SLOT = "kill_slot"
    KILL_KEEPER = "kill_keeper"
    KILL_HOUSEKEEPING = "kill_housekeeping"
    KILL_AGENT = "kill_agent"
    KILL_POD = "kill_pod"  # each process of it, terraform and its scripts too; it is started again in its place
    KILL_HOST = "kill_host"  # what runs the pods of this machine: its agents are told to stop
    KILL_CONTROL = "kill_control"
    KILL_BEAT = "kill_beat"
    KILL_BROKER = "kill_broker"
    KILL_DATABASE = "kill_database"  # SQLite: a process that holds the file in a transaction
    PAUSE_SLOT = "pause_slot"
    PAUSE_KEEPER = "pause_keeper"
    PAUSE_AGENT = "pause_agent"
    PAUSE_POD = "pause_pod"  # longer than a lease, as a virtual machine that is suspended
    PAUSE_CONTROL = "pause_control"
    PAUSE_BEAT = "pause_beat"
    PAUSE_BROKER = "pause_broker"
    PAUSE_DATABASE = "pause_database"
    OUTAGE = "outage"  # a long absence of the database, and nothing else meanwhile
    FLUSH = "flush"  # the broker loses everything
    RESEND = "resend"  # messages of before are delivered again, late and out of order
    FILL = "fill"  # the disk with the directories of runs
    FREEZE = "freeze"
    DELETE_POD = "delete_pod"  # by force: it goes with what runs there, and with its disk
    CANCEL = "cancel"  # asked for by the load, never scheduled


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One planned fault. Times are seconds."""

    at: float  # since the beginning
    kind: Kind
    lasts: float  # until what is away comes back; 0: it is over at once
    pick: int  # chooses the target among what there is then

    @property
    def until(self) -> float:
        """When it is over."""
        return self.at + self.lasts


DURATIONS: dict[Kind, tuple[float, float]] = {
    Kind.KILL_HOST: (0.5, 3),
    Kind.KILL_CONTROL: (0.5, 5),
    Kind.KILL_BEAT: (0.5, 5),
    Kind.KILL_BROKER: (0.2, 3),
    Kind.KILL_DATABASE: (0.2, 3),
    Kind.PAUSE_SLOT: (1, 12),
    Kind.PAUSE_KEEPER: (1, 6),
    Kind.PAUSE_AGENT: (1, 8),
    Kind.PAUSE_POD: (9, 14),
    Kind.PAUSE_CONTROL: (1, 8),
    Kind.PAUSE_BEAT: (1, 8),
    Kind.PAUSE_BROKER: (1, 6),
    Kind.PAUSE_DATABASE: (1, 6),
    Kind.FILL: (4, 8),
    Kind.FREEZE: (3, 7),
}
"""Seconds, at least and at most; kinds that are not here are over at once."""

COPIES = {Kind.KILL_SLOT: 3, Kind.KILL_KEEPER: 2, Kind.KILL_AGENT: 2, Kind.PAUSE_SLOT: 2, Kind.RESEND: 2}
"""How often a kind is in the deck, if not once."""

FIRST = 4.0
GAP = (1.5, 4.5)
"""Seconds between two faults, which may overlap."""
LAST_OUTAGE = 180.0
CALM = 6.0
"""Seconds around the long outage without any other fault, so that what it does is its own doing."""


def make(seed: int, minutes: float) -> list[Fault]:
    """Deal faults over the whole time, each kind before one comes again; the outage is in the middle."""
    rng = random.Random(f"faults {seed}")
    length = minutes * 60
    lasts = min(LAST_OUTAGE, length * 0.15)
    outage = Fault(at=round((length - lasts) / 2, 2), kind=Kind.OUTAGE, lasts=lasts, pick=0)
    dealt = _deal(rng)
    faults, at = [outage], FIRST
    while at < length:
        fault = _draw(rng, at, next(dealt))
        if fault.until < outage.at - CALM or (at > outage.until + CALM and fault.until <= length):
            faults.append(fault)
        at += rng.uniform(*GAP)
    return sorted(faults, key=lambda fault: fault.at)


def _deal(rng: random.Random) -> Iterator[Kind]:
    deck = [kind for kind in Kind if kind not in (Kind.OUTAGE, Kind.CANCEL) for _ in range(COPIES.get(kind, 1))]
    while True:
        rng.shuffle(deck)
        yield from deck


def _draw(rng: random.Random, at: float, kind: Kind) -> Fault:
    lasts = rng.uniform(*DURATIONS[kind]) if kind in DURATIONS else 0.0
    return Fault(at=round(at, 2), kind=kind, lasts=round(lasts, 2), pick=rng.randrange(1_000_000))
