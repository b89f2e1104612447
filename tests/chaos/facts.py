"""Everything that the judge looks at, as values."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from iacq.client import Client
from iacq.domain.run import Run, RunType, Status
from iacq.domain.transitions import Cause
from iacq.errors import NotFound
from tests import invariants
from tests.chaos import ledger
from tests.chaos.journal import Entry
from tests.chaos.ledger import Line
from tests.chaos.load import Asked
from tests.chaos.plant import RESOURCES, Plant


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of a run's state."""

    at: int  # ms
    target: Status
    cause: Cause


@dataclass(frozen=True, kw_only=True)
class JudgedRun:
    """A run as the database tells of it at the end. Times are ms since the epoch."""

    id: int
    workspace: str
    run_type: RunType
    status: Status
    token: str | None  # None: nobody knows who asked for it
    confirmed_at: int | None
    effects_at: int | None
    error: str  # code and text
    changes: tuple[Change, ...]
    state: Mapping[int, str] | None = None  # resource → token in the version that its apply left; None: it left none

    @property
    def interrupted_at(self) -> list[int]:
        """When it became `apply_interrupted`."""
        return [change.at for change in self.changes if change.target is Status.APPLY_INTERRUPTED]

    @property
    def is_lost_apply(self) -> bool:
        """Tell whether a person had to say how its apply ended, or still has to."""
        resolved = any(change.cause is Cause.RESOLVED for change in self.changes)
        return resolved or self.status is Status.APPLY_INTERRUPTED


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """What should not be there when all is over, described."""

    slots: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()  # that contradict each other


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One chaos run."""

    minutes: float
    runs: tuple[JudgedRun, ...]
    ledger: tuple[Line, ...]
    starts: Mapping[int, int]  # run → how often terraform was started to apply it
    journal: tuple[Entry, ...]
    asked: Asked
    resources: int = RESOURCES  # that each apply makes
    leftovers: Leftovers = field(default_factory=Leftovers)


def runs(plant: Plant, asked: Asked) -> tuple[JudgedRun, ...]:
    """Read every run with what happened to it. Raises Unavailable."""
    return tuple(_judged(plant.client, run, asked) for run in plant.client.list(limit=None))


def _judged(client: Client, run: Run, asked: Asked) -> JudgedRun:
    return JudgedRun(
        id=run.id,
        workspace=run.workspace,
        run_type=run.run_type,
        status=run.status,
        token=asked.tokens.get(run.id),
        confirmed_at=run.confirmed_at,
        effects_at=run.effects_at,
        error=f"{run.error_code}: {run.error_text}" if run.error_code else "",
        changes=tuple(Change(at=it.at, target=it.target, cause=it.cause) for it in client.events(run.id)),
        state=_state(client, run) if run.confirmed_at is not None else None,
    )


def _state(client: Client, run: Run) -> Mapping[int, str] | None:
    for version in client.states(run.workspace):
        if version.run_id == run.id:
            with contextlib.suppress(NotFound):
                return _tokens(client.pull_state(run.workspace, version=version.version))
    return None


def _tokens(state: bytes) -> Mapping[int, str]:
    instances = (it for resource in json.loads(state)["resources"] for it in resource["instances"])
    return {it["index_key"]: it["attributes"]["input"]["value"] for it in instances if not it.get("deposed")}


def starts(plant: Plant) -> Mapping[int, int]:
    """Count how often terraform was started to apply each run."""
    found = (ledger.run_of(call.directory) for call in plant.spy.calls("apply"))
    return Counter(run for run in found if run is not None)


def held(plant: Plant) -> Iterator[str]:
    """Describe slots that something still holds, and queues of slots in which something waits or that nobody has."""
    for slot in plant.client.slots():
        if slot.run_id is not None:
            yield f"slot {slot.queue} is {slot.status} for run {slot.run_id}"


def queues(plant: Plant) -> list[str]:
    """Name the queues of pods that are gone."""
    known = {pod.name for pod in plant.client.pods()}
    return sorted(plant.client._core.dispatcher.pods_with_queues() - known)


def directories(plant: Plant) -> list[str]:
    """Name the directories of runs and of pods that are gone."""
    known = {pod.name for pod in plant.client.pods()}
    root = plant.settings.work_root
    of_runs = [*root.glob("pods/*/slot-*/*-*"), *root.glob("pods/*/slot-*/jobs/*-*-*"), *root.glob("runs/*")]
    kept = {*known, *(f".{name}.lock" for name in known)}
    of_pods = [path for path in root.glob("pods/*") if path.name not in kept]
    return sorted(str(path.relative_to(root)) for path in (*of_runs, *of_pods))


def contradictions(plant: Plant) -> list[str]:
    """Return what the rows contradict each other in."""
    with plant.database.transaction(reading=True) as tx:
        return invariants.broken(tx)
