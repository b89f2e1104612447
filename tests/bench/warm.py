"""An apply in another slot than its plan's: warmed up beforehand, or restored from the snapshot when it is claimed."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from iacq import messages
from iacq.domain.run import Run, StartTier, WarmupStatus
from iacq.domain.transitions import Cause
from iacq.store import slots
from iacq.store.protocol import waiting
from tests.bench import providers, ratios
from tests.bench.figure import Figure, quantile
from tests.bench.system import Space, System
from tests.waiting import wait_until

SAMPLES = 30
_FIRST = 3
"""Runs that are not counted."""
_WORKSPACE = "warm"


def measure(space: Space) -> Iterator[Figure]:
    """Measure from confirm() to the first instruction of terraform."""
    warmed_up, restored = [], []
    with space.system() as system:
        system.workspace(_WORKSPACE, {"main.tf": ""})
        for number in range(_FIRST + SAMPLES):
            took = _to_terraform_ms(system, warm_up=True), _to_terraform_ms(system, warm_up=False)
            if number >= _FIRST:
                warmed_up.append(took[0])
                restored.append(took[1])
    for name, values, goal in (("warmed_up", warmed_up, 300), ("restored", restored, None)):
        yield Figure(name=f"confirm_to_terraform_{name}_p50", value=quantile(values, 0.5), unit="ms", goal=goal)


def _to_terraform_ms(system: System, *, warm_up: bool) -> float:
    run = _lost(system, system.planned(_WORKSPACE), warm_up=warm_up)
    began = time.time()
    _applied(system, run)
    return (system.spy.first(run.id, "apply").at - began) * 1000


def _applied(system: System, run: Run) -> Run:
    applied = system.applied(run)
    if applied.start_tier is not StartTier.WARM:
        raise RuntimeError(f"run {run.id} started {applied.start_tier}, not warm")
    return applied


def _lost(system: System, run: Run, *, warm_up: bool) -> Run:
    """Take its slot from a planned run; with a warm-up, wait until it is prepared in another one."""
    core = system.client._core
    held = core.database.read(slots.held_by, run.id)
    if held is None or core.database.attempt(waiting.give_up_reservation, run, held, final=not warm_up) is None:
        raise RuntimeError(f"run {run.id} has no slot to lose")
    if warm_up:
        core.ring_control(messages.BEGIN_WARMUPS)
        wait_until(lambda: system.client.get(run.id).warmup_status is WarmupStatus.READY, 60, "warmed up")
    return system.client.get(run.id)


def measure_null(space: Space) -> Iterator[Figure]:
    packed = providers.null(space.directory / "packed")
    yield from _ratio(space, "null", providers.NULL_FILES, packed, goal=None, samples=5)


def measure_aws(space: Space) -> Iterator[Figure]:
    packed = providers.aws(space.directory / "packed")
    if packed is None:
        print(f"  left out: {providers.HOW_TO_INSTALL_AWS}")
        return
    yield from _ratio(space, "aws", providers.AWS_FILES, packed, goal=1.10, samples=3)


def _ratio(
    space: Space, name: str, files: dict[str, str], packed: Path, *, goal: float | None, samples: int
) -> Iterator[Figure]:
    """Compare the whole phase, claim to end, with `terraform apply plan.out` in such a directory."""
    terraform = providers.terraform()
    phases: dict[bool, list[float]] = {True: [], False: []}
    bare = []
    with space.system(terraform=str(terraform), provider_source=str(packed)) as system:
        system.workspace(_WORKSPACE, files)
        system.applied(system.planned(_WORKSPACE, n=0))
        for number in range(1, samples + 1):
            for warm_up, found in phases.items():
                run = _lost(system, system.planned(_WORKSPACE, n=10 * number + warm_up), warm_up=warm_up)
                found.append(system.phase_ms(_applied(system, run), Cause.CLAIMED))
            bare.append(ratios.bare_apply_ms(system, _WORKSPACE, terraform, number))
    floor = statistics.median(bare)
    for warm_up, kind in ((True, "warmed_up"), (False, "restored")):
        value = statistics.median(phases[warm_up]) / floor
        yield Figure(name=f"{kind}_apply_to_bare_{name}", value=value, unit="ratio", goal=goal)
