"""One slot and its processes, with a scripted terraform: what they leave on the disk is what real ones would leave."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from sqlalchemy.exc import IntegrityError

from iacq.client import Client
from iacq.domain.run import Phase, Run
from iacq.domain.slot import Closed, Place
from iacq.errors import IacqError
from iacq.ports import Job
from iacq.services import confirming, dispatching, recovering
from iacq.services.core import Core
from iacq.services.phases import runner, unfinished
from iacq.services.phases.context import SlotWorker
from iacq.services.recovering import LeaseWatch
from iacq.testing.git import FakeGit
from iacq.testing.keeper import Machine, ScriptedKeeper
from iacq.testing.workshop import ScriptedWorkshop
from tests import samples
from tests.store.world import AGENT, LEASE_MS, POD, World


class Nobody(Executor):
    """Runs nothing beside a phase: no renewal, no log, no state."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(None)
        return done


class OneSlot:
    """A pod with one slot, its processes one after the other, and a run that waits for its apply in it."""

    def __init__(self, world: World, core: Core, root: Path, *, returncode: int = 0) -> None:
        self.world, self.root, self.returncode = world, root, returncode
        self.core = dataclasses.replace(core, settings=dataclasses.replace(core.settings, disk_floor=0))
        self.machine = Machine()
        self.before: Callable[[str], None] = lambda _operation: None
        self._boots = 0
        Client(core).create_workspace(samples.workspace())
        world.pod(slots_of_pod=1)
        self.process = self.begin()
        run = Client(core).enqueue("network", "plan_and_apply")
        dispatching.dispatch(core)
        self.ring(run.id, Phase.PLAN)
        planned = world.run(run.id)
        assert planned.plan_hash
        self.id = confirming.confirm(core, run.id, plan_hash=planned.plan_hash, by="bob", comment=None).id

    def begin(self) -> SlotWorker:
        """Start the next process of this slot."""
        self._boots += 1
        links, slot = self.root / "links", self.root / "slot-1"
        workshop = ScriptedWorkshop(slot, links, before=self._meet)
        self.process = SlotWorker(
            core=self.core,
            place=Place(pod_name=POD, slot_id=1, agent_id=AGENT, boot=str(self._boots)),
            keeper=ScriptedKeeper(
                self.machine,
                boottime=self.core.clock.boottime,
                script=self._script,
                before=self._meet,
            ),
            workshop=workshop,
            git=FakeGit(),
            jobs=workshop.jobs,
            threads=Nobody(),
        )
        return self.process

    def _meet(self, operation: str) -> None:
        self.before(operation)

    def _script(self, job: Job) -> tuple[int, int]:
        match job.directory.name.split("-")[2]:
            case "plan":
                (job.cwd / "plan.out").write_bytes(b"plan")
                return 0, 2
            case "show":
                Path(job.argv[-1]).write_text("+ x\n")
                (job.directory / "out").write_text('{"resource_changes": [{"change": {"actions": ["create"]}}]}')
            case "apply":
                return 0, self.returncode
        return 0, 0

    def ring(self, run_id: int, phase: Phase) -> None:
        runner.answer_doorbell(self.process, run_id, phase, self.world.run(run_id).attempt)

    def apply(self) -> None:
        """Let the process apply, whatever it raises."""
        try:
            self.ring(self.id, Phase.APPLY)
        except (IacqError, IntegrityError):
            assert self.process.look_again

    def look(self) -> bool:
        """What the process does when it begins, and when it left something."""
        return unfinished.settle(self.process) and unfinished.open_slot(self.process)

    def lose_lease(self) -> None:
        watch = LeaseWatch()
        for seconds in (LEASE_MS / 1000 + 1, 21):
            self.world.clock.advance(seconds)
            recovering.recover(self.core, watch)

    @property
    def run(self) -> Run:
        return self.world.run(self.id)

    @property
    def jobs(self) -> list[str]:
        return sorted(path.name for path in self.process.jobs.iterdir() if path.name.endswith("apply"))

    def close(self, why: Closed) -> None:
        """Whatever becomes of it, the slot must open again."""
        self.world.set_slot(1, closed=why)
