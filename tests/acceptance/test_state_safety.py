"""A pod that is killed in the middle of a large apply, with its disk: what was made is known, and not made again."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from iacq.domain import state_file
from iacq.domain.run import Run, Status
from tests.acceptance import configurations
from tests.acceptance.system import POD, System
from tests.acceptance.test_evidence import lose_pod
from tests.waiting import wait_until

RESOURCES = 60
ENOUGH = 25
"""Made before the pod is killed."""
KNOWN_AFTER = 1.0
"""Seconds from the moment when a resource is made to that when its state is stored."""

SLOW = """
resource "terraform_data" "it" {
  count = %(resources)d
  input = count.index
  provisioner "local-exec" {
    command = "sleep 0.${5 + count.index %% 5}; echo ${count.index} $(date +%%s.%%N) >> '%(ledger)s'"
  }
}
"""
"""Terraform makes ten at once."""


def test_what_a_killed_pod_had_made_is_known_and_not_made_again(make_system: Callable[..., System], tmp_path) -> None:
    """docs/failures.md 9, 29."""
    system, ledger = make_system(slots=1), tmp_path / "ledger"
    text = SLOW % {"resources": RESOURCES, "ledger": ledger}
    system.workspace("large", configurations.write(tmp_path / "large", text))
    run = system.plan("large")
    system.confirm(run)
    wait_until(lambda: len(made(ledger)) >= ENOUGH, 60, "many are made")
    lose_pod(system)
    killed_at = time.time()
    shutil.rmtree(system.settings.work_root / "pods" / POD)

    run = system.wait(run, Status.APPLY_INTERRUPTED)
    before = {number for number, at in made(ledger).items() if at <= killed_at - KNOWN_AFTER}
    assert before, "some were made in time"
    assert before <= named_as_done(system, run)
    system.client.resolve(run.id, applied=False, comment="its machine burned down", force=True)
    stored = stored_in(system.client.pull_state("large"))
    assert before <= stored

    system.start_agent()
    again = system.plan("large")
    assert again.changes.add == RESOURCES - len(stored)
    system.client.discard(again.id)


def made(ledger: Path) -> dict[int, float]:
    """Return which are made, and when."""
    words = [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
    return {int(number): float(at) for number, at in words}


def stored_in(state: bytes) -> set[int]:
    """Return those that a state has."""
    found = state_file.read(state)
    return set(map(index_of, found.managed)) if found else set()


def named_as_done(system: System, run: Run) -> set[int]:
    """Return those that `iacq show` tells a person to be done."""
    command = [sys.executable, "-P", "-m", "iacq.cli", "show", str(run.id)]
    done = subprocess.run(command, env=system.environment, cwd=system.home, capture_output=True, text=True, check=True)
    told = done.stdout.partition("Terraform reported as done:")[2].partition("Begun, and no end")[0]
    return set(map(index_of, re.findall(r"terraform_data\.it\[\d+\]", told)))


def index_of(address: str) -> int:
    return int(address.partition("[")[2].rstrip("]"))
