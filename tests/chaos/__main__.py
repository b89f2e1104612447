"""`python -m tests.chaos --minutes M --seed S [--database postgresql|sqlite]`."""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos import proof, report
from tests.chaos.judge import judge


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos", description="Run the real system under random faults, and judge what it did."
    )
    parser.add_argument("--minutes", type=float, default=2, help="how long faults happen (default: 2)")
    parser.add_argument("--seed", type=int, help="the same seed gives the same faults (default: a random one)")
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--schedule", action="store_true", help="print the faults that there would be, and stop")
    given = parser.parse_args()
    seed = random.randrange(100_000) if given.seed is None else given.seed
    if given.schedule:
        print("\n".join(proof.describe(seed, given.minutes)))
        return 0
    directory = Path(tempfile.mkdtemp(prefix="iacq-chaos-"))
    print(f"seed {seed}, {given.minutes:g} minutes, {given.database}; logs in {directory}", file=sys.stderr)
    facts, began, notes = proof.run(directory, kind=given.database, seed=seed, minutes=given.minutes)
    verdict = judge(facts)
    print("\n".join([*report.journal(facts, began), *notes]))
    print("\n".join(report.recoveries(verdict)))
    failed = bool(verdict.violations())
    if failed:
        print("\n".join(report.violations(facts, verdict, began)))
        print(f"seed {seed}; the logs and the database are kept in {directory}")
    else:
        shutil.rmtree(directory)
    print(report.figures(facts, verdict))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
