"""Faults begin and end in the order of the schedule, however long each of them takes to do."""

import contextlib
from collections.abc import Iterator

from tests.chaos.scene import Skipped
from tests.chaos.schedule import Fault, Kind
from tests.chaos.torment import Torment


class NoScene:
    def tend(self) -> None:
        """Nothing ended."""


def fault(kind: Kind, at: float, lasts: float = 0.0) -> Fault:
    return Fault(at=at, kind=kind, lasts=lasts, pick=0)


def test_what_takes_long_delays_the_rest() -> None:
    done: list[str] = []

    @contextlib.contextmanager
    def act(_: object, fault: Fault) -> Iterator[None]:
        if fault.kind is Kind.FILL:
            raise Skipped("there is no disk")
        done.append(f"{fault.kind} begins")
        yield
        done.append(f"{fault.kind} ends")

    schedule = [
        fault(Kind.FREEZE, 0.1, 0.2),
        fault(Kind.FILL, 0.11),
        fault(Kind.FLUSH, 0.2),
        fault(Kind.PAUSE_POD, 0.25, 9),
        fault(Kind.KILL_POD, 0.4),
        fault(Kind.KILL_SLOT, 5),
    ]
    torment = Torment(NoScene(), schedule, act)
    torment.run(0.6)
    assert done == [
        *("freeze begins", "flush begins", "flush ends", "pause_pod begins", "freeze ends"),
        *("kill_pod begins", "kill_pod ends", "pause_pod ends"),
    ]
    assert [text.split("  ")[-1] for text in torment.skipped] == ["fill: there is no disk"]
