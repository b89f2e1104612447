"""What iacq adds to terraform's own time, and what the second init costs those who repeat it.

phase : bare        claim to end of a hot apply : `terraform apply plan.out` in such a directory
runs : by hand      enqueue to plan, and confirm to end : init, plan, show twice; init, apply in a fresh directory
"""

import contextlib
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iacq.domain.run import Run
from iacq.domain.transitions import Cause
from tests.bench import providers
from tests.bench.figure import Figure
from tests.bench.system import Space, System

_WORKSPACE = "ratio"


@dataclass(frozen=True, kw_only=True)
class _Goals:
    """None: only shown."""

    phase: float | None = None
    same_first_init: float | None = None
    mirror: float | None = None


def measure_null(space: Space) -> Iterator[Figure]:
    packed = providers.null(space.directory / "packed")
    yield from _measure(space, "null", providers.NULL_FILES, packed, _Goals(), samples=5)


def measure_aws(space: Space) -> Iterator[Figure]:
    packed = providers.aws(space.directory / "packed")
    if packed is None:
        print(f"  left out: {providers.HOW_TO_INSTALL_AWS}")
        return
    goals = _Goals(phase=1.04, same_first_init=0.72, mirror=0.45)
    yield from _measure(space, "aws", providers.AWS_FILES, packed, goals, samples=3)


def _measure(
    space: Space, name: str, files: dict[str, str], packed: Path, goals: _Goals, *, samples: int
) -> Iterator[Figure]:
    terraform = providers.terraform()
    phases, bare, runs, init_again, hand = [], [], [], [], []
    with space.system(terraform=str(terraform), provider_source=str(packed)) as system:
        system.workspace(_WORKSPACE, files)
        system.applied(system.planned(_WORKSPACE, n=0))  # fills the mirror, makes the state
        for number in range(1, samples + 1):
            planned = system.planned(_WORKSPACE, n=number)
            plan_ms = system.phase_ms(planned, Cause.ENQUEUED)
            applied = system.applied(planned)
            phases.append(system.phase_ms(applied, Cause.CLAIMED))
            runs.append(plan_ms + system.phase_ms(applied, Cause.CONFIRMED))
            bare.append(bare_apply_ms(system, _WORKSPACE, terraform, number))
            by_hand = _ByHand(space.directory / f"hand-{number}", terraform, packed, files)
            with contextlib.closing(by_hand):
                hand.append(by_hand.measure_ms(system.client.pull_state(_WORKSPACE), number))
            init_again.append(runs[-1] - planned.timings["plan"]["init"] + by_hand.first_init_ms)
    floor, whole = statistics.median(bare), statistics.median(hand)
    yield _ratio(f"hot_apply_to_bare_{name}", statistics.median(phases) / floor, goals.phase)
    yield _ratio(f"same_first_init_{name}", statistics.median(init_again) / whole, goals.same_first_init)
    yield _ratio(f"with_mirror_{name}", statistics.median(runs) / whole, goals.mirror)
    yield Figure(name=f"bare_apply_{name}", value=floor, unit="ms", goal=None)
    yield Figure(name=f"by_hand_{name}", value=whole, unit="ms", goal=None)


def _ratio(name: str, value: float, goal: float | None) -> Figure:
    return Figure(name=name, value=value, unit="ratio", goal=goal)


def bare_apply_ms(system: System, workspace: str, terraform: Path, number: int) -> float:
    """Apply a plan of iacq's without iacq, where it would have applied it; then discard it."""
    run: Run = system.planned(workspace, n=1000 + number)
    directory = system.home / "work" / "runs" / f"{run.id}-{run.plan_fence}"
    took = _terraform_ms(terraform, directory, system.home, "apply", "-input=false", "-json", "plan.out")
    system.client.discard(run.id)
    return took


class _ByHand:
    """The same commands without iacq; the apply begins in a fresh directory, as on another machine."""

    def __init__(self, directory: Path, terraform: Path, packed: Path, files: dict[str, str]) -> None:
        self.first_init_ms = 0.0
        self._directory = directory
        self._terraform = terraform
        self._files = files
        directory.mkdir()
        text = f'disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{ path = "{packed}" }}\n}}\n'
        (directory / "terraform.rc").write_text(text)

    def measure_ms(self, state: bytes, number: int) -> float:
        planned, fresh = self._checkout("plan"), self._checkout("apply")
        (planned / "terraform.tfstate").write_bytes(state)
        self.first_init_ms = self._run(planned, "init", "-input=false")
        took = self.first_init_ms
        took += self._run(planned, "plan", "-input=false", "-out=plan.out", f"-var=n={2000 + number}", "-lock=false")
        took += self._run(planned, "show", "-json", "plan.out") + self._run(planned, "show", "plan.out")
        for file in ("plan.out", "terraform.tfstate", ".terraform.lock.hcl"):
            shutil.copy(planned / file, fresh)
        return took + self._run(fresh, "init", "-input=false") + self._run(fresh, "apply", "plan.out")

    def close(self) -> None:
        shutil.rmtree(self._directory)

    def _checkout(self, name: str) -> Path:
        made = self._directory / name
        made.mkdir()
        for file, text in self._files.items():
            (made / file).write_text(text)
        return made

    def _run(self, directory: Path, *arguments: str) -> float:
        return _terraform_ms(self._terraform, directory, self._directory, *arguments)


def _terraform_ms(terraform: Path, directory: Path, home: Path, *arguments: str) -> float:
    """Run terraform as a shell would, output to a file. home: with a terraform.rc, if there is one."""
    rc = home / "terraform.rc"
    environment = {
        "PATH": os.defpath,
        "HOME": str(home),
        "PWD": str(directory),
        "CHECKPOINT_DISABLE": "1",
        "TF_CLI_CONFIG_FILE": str(rc) if rc.exists() else os.devnull,
    }
    with (home / "terraform.out").open("wb") as output:
        began = time.monotonic()
        subprocess.run(
            [terraform, *arguments], cwd=directory, env=environment, stdout=output, stderr=output, check=True
        )
    return (time.monotonic() - began) * 1000
