"""A pod is killed, with every process of it, while its slots are in each state at once."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from iacq.domain.run import Run, Status
from iacq.domain.slot import Closed, SlotStatus
from iacq.errors import Conflict
from tests import invariants
from tests.acceptance import configurations, fleet
from tests.acceptance.configurations import Gate
from tests.acceptance.system import POD, System
from tests.bench.spy import NO_OP

S = Status
SLOTS = 6
_LONG = 120.0
"""Seconds: an agent with six slots starts meanwhile, on a machine that may be busy."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """A run in each state in which it holds a slot; one more slot is idle."""

    late: Run  # applying, behind the point of no return
    early: Run  # applying, before it
    reserved: Run
    planning: Run
    queued: Run


class Scene:
    """Brings the slots of the one pod into these states. Its terraform does nothing, but may be held at a gate."""

    def __init__(self, system: System, directory: Path) -> None:
        self._system = system
        self._directory = directory
        self._path = configurations.write(directory / "it", "")
        system.spy.hook(NO_OP)

    def hold(self) -> Held:
        system = self._system
        late, early, reserved = (system.wait(self._enqueue(name), S.APPLY_PENDING) for name in ("a", "b", "c"))
        at_apply = self._gate("apply")
        system.confirm(late)
        at_apply.reached()
        system.spy.change("another build")  # the next apply does not start hot, but with an init
        at_init = self._gate("init")
        system.confirm(early)
        at_init.reached()
        at_plan = self._gate("plan")
        planning = self._enqueue("d")
        at_plan.reached()
        os.kill(system.fleet().slot(5), signal.SIGSTOP)  # the next free one: it takes nothing
        queued = system.until(self._enqueue("e"), lambda run: run.status is S.PLAN_QUEUED, "it is queued")
        held = Held(late=late, early=early, reserved=reserved, planning=planning, queued=queued)
        found = [system.client.get(run.id).status for run in vars(held).values()]
        assert found == [S.APPLYING, S.APPLYING, S.APPLY_PENDING, S.PLANNING, S.PLAN_QUEUED]
        slots = [slot.status for slot in system.client.slots()]
        assert [slots.count(one) for one in (SlotStatus.RUNNING, SlotStatus.RESERVED, SlotStatus.IDLE)] == [4, 1, 1]
        return held

    def open(self) -> None:
        """Hold nobody who comes from now on."""
        self._system.spy.hook(NO_OP)

    def _enqueue(self, name: str) -> Run:
        self._system.workspace(name, self._path)
        return self._system.client.enqueue(name, "plan_and_apply")

    def _gate(self, command: str) -> Gate:
        """Hold whoever calls this command next; who stands before another gate stays there."""
        gate = Gate(self._directory / f"at-{command}")
        self._system.spy.hook(f'if [ "$1" = {command} ]; then {gate.script}; fi\n{NO_OP}')
        return gate


@pytest.mark.parametrize(("kind", "successor"), [("sqlite", "another"), ("postgresql", POD)])
def test_every_process_of_a_pod_is_killed(
    make_system: Callable[..., System], tmp_path: Path, kind: str, successor: str
) -> None:
    """docs/failures.md 9, 14, 17, 21: what waited goes on elsewhere, and no apply is started twice.

    Another pod takes its place, or it is started again in the same one and finds that nothing is alive.
    """
    system = make_system(kind, slots=SLOTS, CLAIM_TIMEOUT="60s")
    scene = Scene(system, tmp_path)
    held = scene.hold()
    family = system.family(POD)
    fleet.send(signal.SIGKILL, family)
    system.kill(POD)
    fleet.kill(*family)
    scene.open()
    system.start_agent(successor)

    assert system.wait(held.late, S.APPLY_INTERRUPTED, timeout=_LONG).status is S.APPLY_INTERRUPTED
    assert system.wait(held.early, timeout=_LONG).status is S.APPLIED
    for again in (held.planning, held.queued):
        assert system.wait(again, S.APPLY_PENDING, timeout=_LONG).status is S.APPLY_PENDING
    waits = system.until(held.reserved, lambda run: run.prepared_slot_id is None, "its slot is given up")
    assert waits.status is S.APPLY_PENDING
    system.confirm(waits)
    assert system.wait(waits).status is S.APPLIED
    for run in (held.late, held.early, held.reserved):
        assert len(system.spy.calls("apply", run=run.id)) == 1
    assert system.history(held.queued).count("claimed") == 1, "nobody had begun with it"
    if successor == POD:
        system.until(held.late, lambda run: system.client.evidence(run.id).end_proven, "nothing of it is alive")
        assert system.client.resolve(held.late.id, applied=False, comment="x").status is S.FAILED
    else:
        assert "lease_lost" in system.history(held.planning)
        assert "lease_lost" in system.history(held.early)
        assert {slot.closed for slot in system.client.slots() if slot.pod_name == POD} == {Closed.OFFLINE}
        with pytest.raises(Conflict, match="may still be alive"):
            system.client.resolve(held.late.id, applied=False, comment="x")
    assert not system.database.read_at_once(invariants.broken)
