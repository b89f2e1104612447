"""`python -m tests.bench [--only NAME] [--json FILE]`."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import (
    client,
    cluster,
    commands,
    crowd,
    dispatch,
    figure,
    fleet,
    hot_path,
    idle,
    inits,
    metrics,
    ratios,
    recovery,
    responses,
    source,
    system,
    throughput,
    warm,
)
from tests.bench.figure import Figure
from tests.bench.system import Space

BENCHMARKS: dict[str, tuple[Callable[[Space], Iterator[Figure]], bool]] = {
    "hot-sqlite": (hot_path.measure, False),
    "hot-postgresql": (hot_path.measure, True),
    "responses": (responses.measure, False),
    "recovery": (recovery.measure, False),
    "throughput": (throughput.measure, True),
    "crowd": (crowd.measure, True),
    "crowd-sqlite": (crowd.measure, False),
    "client": (client.measure, False),
    "client-postgresql": (client.measure, True),
    "ratios-null": (ratios.measure_null, False),
    "ratios-aws": (ratios.measure_aws, False),
    "warm": (warm.measure, False),
    "warm-null": (warm.measure_null, False),
    "warm-aws": (warm.measure_aws, False),
    "inits": (inits.measure, False),
    "idle": (idle.measure, False),
    "commands": (commands.measure, False),
    "metrics-sqlite": (metrics.measure, False),
    "metrics-postgresql": (metrics.measure, True),
    "dispatch-sqlite": (dispatch.measure, False),
    "dispatch-postgresql": (dispatch.measure, True),
    "fleet": (fleet.measure, True),
    "cluster": (cluster.measure, False),
    "source": (source.measure, False),
    "source-postgresql": (source.measure, True),
}
"""Name, what it measures, and whether on PostgreSQL."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure iacq beside its goals.")
    parser.add_argument("--only", choices=BENCHMARKS, metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write {name: {value, unit, goal}}")
    given = parser.parse_args()
    found: list[Figure] = []
    for name in [given.only] if given.only else BENCHMARKS:
        measure, postgres = BENCHMARKS[name]
        print(f"{name} ...", file=sys.stderr)
        with system.spaces(postgres=postgres) as space:
            found += measure(space)
    print(figure.table(found))
    if given.json:
        shown = {one.name: {"value": one.value, "unit": one.unit, "goal": one.goal} for one in found}
        given.json.write_text(json.dumps(shown, indent=2) + "\n")


if __name__ == "__main__":
    main()
