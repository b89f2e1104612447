"""Pods come when runs need them and go when none does, with real pods below a manager."""

import dataclasses
import subprocess
from collections.abc import Callable, Collection, Iterator

import pytest

from iacq.domain.run import Run, StartTier, Status
from iacq.domain.slot import PodStatus, SlotStatus
from iacq.domain.workspace import Workspace
from iacq.ports import PodPhase, PodSpec, PresentPod
from iacq.services import scaling
from iacq.services.pod_manager import PodManager
from iacq.services.pools import PoolChange
from tests.acceptance import configurations
from tests.acceptance.system import System
from tests.bench.spy import NO_OP
from tests.waiting import wait_until

POOL = "burst"


class Processes:
    """A runtime whose pods are programs of the system under test."""

    identity = "test"

    def __init__(self, system: System) -> None:
        self._system = system
        self.present_pods: dict[str, PresentPod] = {}

    def create(self, spec: PodSpec) -> None:
        if spec.name not in self.present_pods:
            arguments = ("--pod-name", spec.name, "--pool", spec.pool, "--slots", str(spec.slots))
            self._system.start(spec.name, "-m", "workers.agent", *arguments)
            self.present_pods[spec.name] = PresentPod(name=spec.name, uid=spec.name, phase=PodPhase.RUNNING)

    def delete(self, name: str, *, uid: str | None = None) -> None:
        if name in self.present_pods:
            self._system.programs[name].terminate()
            self.present_pods[name] = dataclasses.replace(self.present_pods[name], phase=PodPhase.STOPPING)

    def present(self, expected: Collection[str] = ()) -> list[PresentPod]:
        for name in list(self.present_pods):
            if self._program(name).poll() is not None:
                del self.present_pods[name], self._system.programs[name]
        return list(self.present_pods.values())

    def _program(self, name: str) -> subprocess.Popen[bytes]:
        return self._system.programs[name]


class Fleet:
    """A pool of the system whose pods this process manages."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.runtime = Processes(system)
        core = system.client._core
        self._manager = PodManager(core, self.runtime, scale=lambda manager, pool: scaling.scale(core, manager, pool))
        self.most = 0

    def until(self, condition: Callable[[], bool], what: str, timeout: float = 90) -> None:
        """Reconcile, as beat lets a control worker do, until this is so."""

        def look() -> bool:
            self._manager.reconcile_pods()
            self.most = max(self.most, len(self.online()))
            return condition()

        wait_until(look, timeout, what)

    def online(self) -> list[str]:
        return [pod.name for pod in self.system.client.pods() if pod.pool == POOL and pod.status is PodStatus.ONLINE]

    def is_gone(self) -> bool:
        return not any(pod.pool == POOL for pod in self.system.client.pods())

    def has(self, run: Run, status: Status) -> bool:
        found = self.system.client.get(run.id)
        assert found.status not in (Status.FAILED, Status.CANCELLED), found.error_text
        return found.status is status


@pytest.fixture
def fleet(system: System) -> Iterator[Fleet]:
    system.client.create_pool(POOL, PoolChange(max_pods=4, slots_per_pod=2, idle_grace_ms=1000))
    made = Fleet(system)
    yield made
    system.client.update_pool(POOL, PoolChange(max_pods=0, idle_grace_ms=0))
    for run in system.client.list(status=[Status.APPLY_PENDING, Status.PENDING]):
        system.client.cancel(run.id)
    made.until(made.is_gone, "no pod is left")
    for workspace in system.client.workspaces():
        system.client.delete_workspace(workspace.name, force=True)
    system.client.delete_pool(POOL)


@pytest.mark.parametrize("system", ["postgresql"], indirect=True)
def test_a_burst_of_forty_runs_scales_up_and_down_beside_a_kept_slot(fleet: Fleet, system: System, tmp_path) -> None:
    """docs/failures.md 17, 18, 20, 25: from no pod to three and back, and the slot of an unread plan is not touched."""
    path = str(configurations.write(tmp_path / "it", ""))
    names = [f"burst{number}" for number in range(5)]  # one run at a time each: with the kept slot, three pods
    for name in ("kept", *names):
        system.client.create_workspace(Workspace(name=name, pool=POOL, path=path, auto_apply=False))
    system.spy.hook(NO_OP)
    kept = system.client.enqueue("kept", "plan_and_apply")
    assert system.client.waiting(kept) is not None
    fleet.until(lambda: fleet.has(kept, Status.APPLY_PENDING), "it is planned, from no pod at all")
    place = _slot_of(system, kept)
    gate = tmp_path / "gate"
    system.spy.hook(f"[ $1 = plan ] && while [ ! -e {gate} ]; do sleep 0.1; done{NO_OP}")
    wanted = [names[number % len(names)] for number in range(40)]
    runs = [system.client.enqueue(name, "plan_and_apply", auto_apply=True) for name in wanted]
    fleet.until(lambda: len(fleet.online()) == 3, "three pods are online")
    gate.touch()
    fleet.until(lambda: all(fleet.has(run, Status.APPLIED) for run in runs), "every run has ended")
    fleet.until(lambda: fleet.online() == [place[0]], "the pods that hold nothing are gone")
    assert _slot_of(system, kept) == place
    assert fleet.most == 3, "never more than are needed"
    system.confirm(system.client.get(kept.id))
    fleet.until(lambda: fleet.has(kept, Status.APPLIED), "it is applied")
    assert system.client.get(kept.id).start_tier is StartTier.HOT
    fleet.until(fleet.is_gone, "the last pod is gone")


def _slot_of(system: System, run: Run) -> tuple[str, int, SlotStatus]:
    [slot] = [slot for slot in system.client.slots() if slot.run_id == run.id]
    return slot.pod_name, slot.slot_id, slot.status
