"""`python -m tests.walk`: what scripts/modelcheck runs."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from iacq.store import migrate
from tests import servers
from tests.walk import searching
from tests.walk.mutants import MUTANTS
from tests.walk.searching import Found, Searched
from tests.walk.walk import Arena

_EPILOG = """
A step is one transaction of one process, or one thing that happens around it: time, a message, a fault. After every
commit all invariants are checked; now and then, and at the end of each walk, all processes live, and everything that
can go on must end within a bounded number of rounds.

examples:
  scripts/modelcheck                                  20,000 steps on each database
  scripts/modelcheck --steps 1000000 --seed 7         long
  scripts/modelcheck --mutants --database sqlite      what each rule of the product is there for

The last line of the output is JSON. Exit code 1: something is wrong, or a mutant was not found.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Walk, print what was found, and return the exit code."""
    options = _parse(arguments)
    steps = violations = mutants_found = 0
    with _without_log(), tempfile.TemporaryDirectory(prefix="iacq-modelcheck-") as directory:
        for number, (database, url) in enumerate(_databases(options.database, Path(directory))):
            with Arena(url, Path(directory) / f"{database}-files") as arena:
                began = time.monotonic()
                walked = searching.search(arena, seed=options.seed, steps=options.steps)
                steps += walked.steps
                violations += walked.found is not None
                print(f"{database}: {_told(walked)}, {time.monotonic() - began:.0f} s", flush=True)
                if walked.found is not None:
                    print(_trace(arena, walked.found, options.shrink), flush=True)
                if options.mutants and number == 0:  # the rules are the same on the other one
                    mutants_found = sum(_find(arena, name, options) for name in MUTANTS)
    mutants = len(MUTANTS) if options.mutants else 0
    result = {"steps": steps, "violations": violations, "mutants": mutants, "mutants_found": mutants_found}
    print(json.dumps(result))
    return int(violations > 0 or mutants_found < mutants)


@contextlib.contextmanager
def _without_log() -> Iterator[None]:
    """Keep the product from telling of the thousands of processes that die."""
    log = logging.getLogger("iacq")
    before, log.propagate = log.propagate, False
    nowhere = logging.NullHandler()
    log.addHandler(nowhere)
    try:
        yield
    finally:
        log.removeHandler(nowhere)
        log.propagate = before


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/modelcheck",
        description="Walk at random through interleavings of the system's transactions, with faults between any two.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=20_000, help="on each database (20000)")
    parser.add_argument("--seed", type=int, default=1, help="where to begin; the same seed is the same history (1)")
    parser.add_argument(
        "--mutants", action="store_true", help="also search the product with one rule left out, for each"
    )
    parser.add_argument("--mutant-steps", type=int, default=20_000, help="at most, for each of them (20000)")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--shrink", type=float, default=20, metavar="SECONDS", help="to shorten what is found (20)")
    options = parser.parse_args(arguments)
    if options.steps < 1 or options.mutant_steps < 1 or options.seed < 0:
        parser.error("--steps and --mutant-steps are at least 1, --seed at least 0")
    return options


@contextlib.contextmanager
def _postgresql() -> Iterator[str]:
    with servers.Postgres(migrate.upgrade) as server, server.database() as url:
        yield url


def _databases(wanted: str, directory: Path) -> Iterator[tuple[str, str]]:
    """Give the name and the URL of each database, one after the other."""
    if wanted != "postgresql":
        url = f"sqlite:///{directory / 'model.db'}"
        migrate.upgrade(url)
        yield "sqlite", url
    if wanted != "sqlite":
        with _postgresql() as url:
            yield "postgresql", url


def _told(walked: Searched) -> str:
    found = walked.found
    what = f"seed {found.seed} is WRONG after {found.steps} steps" if found else "nothing wrong"
    return f"{walked.steps} steps, {walked.transactions} transactions, {what}"


def _find(arena: Arena, name: str, options: argparse.Namespace) -> bool:
    """Search one mutant, and print what gave it away."""
    mutant = MUTANTS[name]
    searched = searching.search(arena, seed=0, steps=options.mutant_steps, mutant=mutant)
    if searched.found is None:
        print(f"mutant NOT FOUND in {searched.steps} steps: {name}", flush=True)
        return False
    print(f"mutant found in {searched.steps} steps: {name}", flush=True)
    shorter = searching.shorten(arena, searched.found, seconds=options.shrink / 4, product=mutant.product)
    print(f"    {'; '.join(shorter.wrong)}")
    print("".join(f"      {line}\n" for line in shorter.trace[-12:]), end="", flush=True)
    return True


def _trace(arena: Arena, found: Found, seconds: float) -> str:
    shorter = searching.shorten(arena, found, seconds=seconds)
    lines = [f"seed {found.seed}, {len(shorter.decisions)} steps: {'; '.join(shorter.wrong)}", *shorter.trace[-200:]]
    return "\n  ".join(lines)


if __name__ == "__main__":
    sys.exit(main())
