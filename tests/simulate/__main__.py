"""`python -m tests.simulate [--only PATTERN] [--seed N] [--pod-start SECONDS] [--idle-grace SECONDS] [--json]`."""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from iacq.domain.pool import DEFAULT_IDLE_GRACE_MS
from tests.bench import figure
from tests.bench.figure import Figure
from tests.simulate.measured import Foreseen, Measured, foresee, measure
from tests.simulate.patterns import PATTERNS, SECOND
from tests.simulate.rules import Iacq, QueueLength, Utilisation

IACQ, HEADROOM = "iacq", "iacq, headroom 1"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """One pattern under each rule."""

    rules: tuple[Measured, ...]
    clairvoyant: Foreseen

    def rule(self, name: str) -> Measured:
        return next(row for row in self.rules if row.rule == name)


def replay(name: str, *, seed: int, pod_start: int, idle_grace: int = DEFAULT_IDLE_GRACE_MS) -> Replay:
    """Replay a pattern. Times in ms."""
    pattern = PATTERNS[name](seed)
    foreseen = foresee(pattern, pod_start=pod_start)
    rules = (
        Iacq(IACQ, idle_grace_ms=idle_grace),
        Iacq(HEADROOM, idle_grace_ms=idle_grace, headroom=1),
        QueueLength(),
        Utilisation(),
    )
    measured = tuple(measure(pattern, rule, foreseen, pod_start=pod_start) for rule in rules)
    return Replay(rules=measured, clairvoyant=foreseen)


def goals(replays: Mapping[str, Replay], *, pod_start: int) -> Iterator[Figure]:
    """Compare what was measured with what it should be. pod_start: ms."""
    for name, replayed in replays.items():
        iacq, headroom = replayed.rule(IACQ), replayed.rule(HEADROOM)
        if name == "working-day":
            yield Figure(name=f"{name}_pod_hours", value=iacq.to_clairvoyant, unit="of clairvoyant", goal=1.35)
            yield Figure(name=f"{name}_wait_p95", value=iacq.wait_p95, unit="s", goal=pod_start / SECOND)
            yield Figure(
                name=f"{name}_headroom_pod_hours", value=headroom.to_clairvoyant, unit="of clairvoyant", goal=1.5
            )
            yield Figure(name=f"{name}_headroom_wait_p95", value=headroom.wait_p95, unit="s", goal=2)
        ratio = iacq.pod_hours / replayed.rule(Utilisation.name).pod_hours
        yield Figure(name=f"{name}_pod_hours_to_utilisation", value=ratio, unit="of ±1", goal=1)


def table(replays: Mapping[str, Replay]) -> str:
    head = ("pattern", "rule", "wait p50", "p95", "pod-hours", "of clairv.", "lost", "given up", "killed", "applies")
    lines: list[tuple[str, ...]] = [head]
    for name, replayed in replays.items():
        shown = name
        for row in replayed.rules:
            waits = (f"{row.wait_p50:.1f} s", f"{row.wait_p95:.1f} s")
            counts = (str(count or "") for count in (row.lost, row.given_up, row.killed, row.interrupted))
            lines.append((shown, row.rule, *waits, f"{row.pod_hours:.1f}", f"{row.to_clairvoyant:.2f}", *counts))
            shown = ""
        foreseen = replayed.clairvoyant
        for who, hours in (("clairvoyant", foreseen.least), ("clairvoyant, in place", foreseen.in_place)):
            lines.append(("", who, "", "", f"{hours:.1f}", f"{hours / foreseen.least:.2f}", "", "", "", ""))
    return figure.columns(lines, right=range(2, len(head)))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/simulate",
        description="Compare the scaler's rule with others on simulated days.",
        epilog="Wait: for a slot, of each phase that has none. Lost, given up: reservations, by a stopped pod and at "
        "the pool's maximum. Killed: phases that ran in a stopped pod; applies: those of them whose effect is unknown. "
        "Clairvoyant: the least pod-hours for the same runs and reservations without a wait, if these could be moved "
        "between pods; in place: if they cannot, with the slots that iacq chooses.",
    )
    parser.add_argument("--only", choices=PATTERNS, metavar="PATTERN", help=f"one of {', '.join(PATTERNS)}")
    parser.add_argument("--seed", type=int, default=1, help="another one is another day (default 1)")
    parser.add_argument(
        "--pod-start", type=float, default=45, metavar="SECONDS", help="from order to ready (default 45)"
    )
    parser.add_argument(
        "--idle-grace",
        type=float,
        default=DEFAULT_IDLE_GRACE_MS / SECOND,
        metavar="SECONDS",
        help="of iacq's rule (default %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print {patterns, goals} instead of tables")
    given = parser.parse_args()
    pod_start, idle_grace = int(given.pod_start * SECOND), int(given.idle_grace * SECOND)
    names = [given.only] if given.only else list(PATTERNS)
    replays = {name: replay(name, seed=given.seed, pod_start=pod_start, idle_grace=idle_grace) for name in names}
    reached = list(goals(replays, pod_start=pod_start))
    if given.json:
        patterns = {name: dataclasses.asdict(replayed) for name, replayed in replays.items()}
        shown = {one.name: {"value": one.value, "unit": one.unit, "goal": one.goal} for one in reached}
        print(
            json.dumps(
                {"seed": given.seed, "pod_start": given.pod_start, "patterns": patterns, "goals": shown}, indent=2
            )
        )
    else:
        print(f"{table(replays)}\n\n{figure.table(reached)}")


if __name__ == "__main__":
    main()
