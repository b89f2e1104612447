"""A whole system in one thread: the product's own services and slots, with scripted keepers and a virtual clock."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from iacq import messages
from iacq.domain.pool import PoolPolicy
from iacq.domain.run import Phase
from iacq.domain.slot import Place
from iacq.errors import Conflict, PhaseFailed
from iacq.keeper import files
from iacq.ports import Job, PodPhase
from iacq.services import agents, scaling
from iacq.services.core import Core
from iacq.services.phases import runner, unfinished, warmup
from iacq.services.phases.context import SlotWorker
from iacq.services.pod_manager import PodManager
from iacq.settings import Settings
from iacq.store import pods, pools, runs, workspaces
from iacq.store.pods import Registration
from iacq.testing.core import make_core
from iacq.testing.dispatcher import RecordingDispatcher, Rung
from iacq.testing.git import FakeGit
from iacq.testing.workshop import ScriptedWorkshop
from tests import samples
from tests.walk.actors import Actor, StageClock, StageLock
from tests.walk.database import StageDatabase
from tests.walk.dice import Dice
from tests.walk.machines import (
    SLOTS,
    ControlProcess,
    PodOnMachine,
    Seat,
    SlotProcess,
    WatchedRuntime,
    make_pod,
)
from tests.walk.product import Product

POOL = "default"
WORKSPACES = ("network", "cluster")
FETCHED = "cluster"
"""Its source is a git repository: fetching it is one more command that may be lost."""
PODS = 2


class NoThreads(Executor):
    """Does nothing: the walk itself does what the threads of a phase would, so that a seed is one history.

    Logs are stored at the end of a phase only.
    """

    def submit(self, *_task: Any, **_arguments: Any) -> Future[Any]:
        done = Future[Any]()
        done.set_result(None)
        return done


class Cluster:
    """Everything that there is; the walk decides what happens next."""

    def __init__(
        self, database: StageDatabase, clock: StageClock, root: Path, *, seed: int, managed: bool, product: Product
    ) -> None:
        """managed: pods are made and deleted as the pool needs them; else they are started by hand."""
        self.clock, self.stage, self.database = clock, clock.stage, database
        self.seed, self.managed, self.product = seed, managed, product
        self.dispatcher = RecordingDispatcher()
        settings = Settings(home=root, renew=3600.0, disk_floor=0)
        made = make_core(database.url, root, clock=clock, dispatcher=self.dispatcher, settings=settings)
        self.core: Core = dataclasses.replace(made, database=database)
        self.controls = [ControlProcess(name=f"control{n}", watch=product.watch()) for n in (1, 2)]
        self.starts: Counter[int] = Counter()
        self.warmed = 0
        self.calm = False  # faults are off
        self.wrong: list[str] = []  # what was seen that must not be
        self.forced: set[str] = set()  # pods that a person deleted with whatever runs in them
        self.root = root
        self._links = root / "links"
        self._named = 0
        self.runtime = WatchedRuntime(self.stage, self._deleted)
        self.manager = PodManager(
            self.core,
            self.runtime,
            scale=lambda manager, pool: scaling.scale(self.core, manager, pool),
            make_name=self._name_pod,
        )
        self.pods: list[PodOnMachine] = [] if managed else [make_pod(f"pod{n}", root) for n in range(1, PODS + 1)]
        self.gone: list[PodOnMachine] = []
        for name in WORKSPACES:
            fields = {"path": None, "git": "https://host/x"} if name == FETCHED else {}
            database.run(workspaces.insert, samples.workspace(name, **fields), secrets=None)
        policy = PoolPolicy(max_pods=PODS, slots_per_pod=SLOTS, idle_grace_ms=60_000)
        database.run(pools.set_policy, POOL, policy)

    def _name_pod(self, pool: str) -> str:
        self._named += 1
        return f"{pool}-{self._named}"

    def _deleted(self, name: str) -> None:
        """A pod is told to go: nothing that iacq decides by itself may end an apply."""
        for pod in self.pods:
            if pod.name == name and any(pod.applies()) and name not in self.forced:
                self.wrong.append(f"pod {name} is deleted while terraform applies in it")

    # ---------------------------------------------------------------- processes

    def start(self, name: str, owner: object, what: Any) -> Actor:
        """Begin something that a process does."""
        return self.stage.start(name, owner, what)

    def boot(self, pod: PodOnMachine) -> Actor:
        """A new boot of the pod: its agent registers, its slots have new keepers and processes."""
        pod.boots += 1
        pod.stopping = pod.silent = False
        boot = Registration(
            pod_name=pod.name,
            agent_id=f"{pod.name}-boot{pod.boots}",
            pool=POOL,
            slots=len(pod.seats),
            managed=pod.managed,
        )
        pod.registration = boot
        for seat in pod.seats.values():
            seat.keeper = None
        if pod.managed and pod.name in self.runtime.pods:
            started = self.clock.now_ms()
            phase = self.runtime.pods[pod.name].phase
            phase = PodPhase.RUNNING if phase is PodPhase.STARTING else phase
            self.runtime.change(pod.name, phase=phase, started_at=started)
        for slot_id in pod.seats:
            self.respawn(pod, slot_id)

        def register() -> None:
            try:
                agents.register(self.core, boot)
            except Conflict:
                self.end_pod(pod)

        return self.start(f"agent of {pod.name}: registers", boot, register)

    def respawn(self, pod: PodOnMachine, slot_id: int) -> None:
        """A new process for a slot, as the agent makes it; a new keeper if the old one is gone."""
        seat = pod.seats[slot_id]
        if pod.registration is None:
            return
        seat.boots += 1
        queue = f"{pod.name}.{slot_id}"

        def before(operation: str) -> None:
            self.stage.pause(operation)

        workshop = ScriptedWorkshop(seat.root, self._links, before=before, lacks=lambda: self._lacking(queue))
        keeper = self.product.keeper(seat.machine, boottime=self.clock.boottime, script=self._script, before=before)
        place = Place(pod_name=pod.name, slot_id=slot_id, agent_id=pod.registration.agent_id, boot=str(seat.boots))
        lock = StageLock(self.stage, self.clock)
        worker = SlotWorker(
            core=self.core,
            place=place,
            keeper=keeper,
            workshop=workshop,
            git=FakeGit(),
            jobs=workshop.jobs,
            threads=NoThreads(),
            lock=lock,  # type: ignore[arg-type] # as a lock is
        )
        seat.keeper = keeper
        seat.process = SlotProcess(worker=worker, keeper=keeper, lock=lock)

    def kill_process(self, seat: Seat) -> list[str]:
        """SIGKILL of a slot's process; returns what it was doing."""
        process, seat.process = seat.process, None
        return self.stage.kill(process) if process is not None else []

    def end_pod(self, pod: PodOnMachine) -> None:
        """SIGKILL of everything but its terraforms."""
        boot, pod.registration = pod.registration, None
        for seat in pod.seats.values():
            self.kill_process(seat)
            if seat.keeper is not None:
                seat.keeper.gone = True
        if boot is not None and (self.stage.current is None or self.stage.current.owner is not boot):
            self.stage.kill(boot)

    def crash(self, pod: PodOnMachine) -> None:
        """Everything is gone, its terraforms as well, of which nobody learns anything."""
        self.end_pod(pod)
        for seat in pod.seats.values():
            for directory in list(seat.machine.programs):
                seat.machine.vanish(directory)

    def vanish(self, pod: PodOnMachine) -> None:
        """The pod is gone for good, and whatever runs pods does not list it any more."""
        self.crash(pod)
        self.pods.remove(pod)
        self.gone.append(pod)
        if pod.name in self.runtime.pods:
            self.runtime.vanish(pod.name)

    def stop_pod(self, pod: PodOnMachine) -> Actor:
        """SIGTERM: no new claims; what waits goes elsewhere; what runs may go on for a while."""
        pod.stopping = True
        places = []
        for process in pod.processes():
            process.worker.stop_at = self.clock.monotonic() + 15
            places.append(process.worker.place)

        def drain() -> None:
            for place in places:
                agents.drain_slot(self.core, place)

        return self.start(f"agent of {pod.name}: stops", pod.registration, drain)

    def leave_if_done(self, pod: PodOnMachine) -> Actor | None:
        """The end of a stopping pod, once its slots' processes ended."""
        boot = pod.registration
        if not pod.stopping or boot is None or self.stage.of(boot):
            return None
        for seat in pod.seats.values():
            if seat.process is not None and not self.stage.of(seat.process):
                self.kill_process(seat)
        if any(pod.processes()):
            return None

        def leave() -> None:
            agents.leave(self.core, boot)
            self.end_pod(pod)

        return self.start(f"agent of {pod.name}: leaves", boot, leave)

    # ---------------------------------------------------------------- what slots do

    def settle(self, process: SlotProcess) -> Actor:
        """What a slot's process does when it begins, and whenever it is asked whether it is there."""
        worker = process.worker

        def answer() -> bool:
            process.owes = True
            if not process.lock.acquire(blocking=False):
                return False
            try:
                process.settled = True
                process.owes = not (unfinished.settle(worker) and unfinished.open_slot(worker))
                return not process.owes
            finally:
                process.lock.release()

        return self.start(f"slot {worker.place.queue}: looks", process, answer)

    def deliver(self, rung: Rung) -> Actor | None:
        """A message reaches whoever consumes its queue; nobody is there: it stays lost until it is rung again."""
        name, _, which = rung.queue.partition(".")
        pod = next((pod for pod in self.pods if pod.name == name), None)
        if pod is None or pod.registration is None:
            return None
        if which == "agent":
            process = pod.seats[int(rung.arguments["slot_id"])].process if rung.task == messages.SIGNAL_RUN else None
            return self.renew(process) if process is not None else None
        process = pod.seats[int(which)].process
        if process is None or process.busy or not process.settled:
            return None
        if rung.task == messages.ANSWER:
            return self.settle(process)
        work = self._warm_up if rung.task == messages.WARMUP else self._work
        about = f"run {rung.arguments['run_id']}"
        name = f"slot {rung.queue}: {rung.task.removeprefix('iacq.')} of {about}"
        return self.start(name, process, lambda: work(process, rung.arguments))

    def _warm_up(self, process: SlotProcess, arguments: dict[str, Any]) -> None:
        self.warmed += bool(warmup.answer_doorbell(process.worker, **arguments))

    def _work(self, process: SlotProcess, arguments: dict[str, Any]) -> None:
        ended = runner.answer_doorbell(process.worker, **{**arguments, "phase": Phase(arguments["phase"])})
        if ended is not None and ended.error_code == "system":
            raise PhaseFailed(ended.error_text or "unforeseen", code="system")

    def renew(self, process: SlotProcess) -> Actor | None:
        """Do what a slot's lease thread does."""
        lease = process.worker.lease
        if lease is None or lease.lost:
            return None
        self.clock.advance(0.001)
        return self.start(f"slot {process.worker.place.queue}: renews", process, lease.renew)

    def beat(self, pod: PodOnMachine) -> Actor | None:
        """The heartbeat of a pod; it registers anew whenever it counts as gone."""
        boot = pod.registration
        if boot is None or pod.silent or self.stage.of(boot):
            return None

        def beat() -> None:
            database = self.core.database
            if not database.read(pods.is_registered, boot.pod_name, boot.agent_id):
                if pod.stopping:
                    return
                try:
                    agents.register(self.core, boot)
                except Conflict:
                    self.end_pod(pod)
                    return
                for process in pod.processes():
                    self.settle(process)
            database.run(pods.beat, boot.pod_name, boot.agent_id)

        return self.start(f"agent of {pod.name}: beats", boot, beat)

    def clean(self, pod: PodOnMachine) -> Actor | None:
        """Remove directories that no run needs, as a pod's housekeeping does."""
        boot = pod.registration
        if boot is None:
            return None
        workshops = {
            slot_id: ScriptedWorkshop(seat.root, self._links, before=self.stage.pause)
            for slot_id, seat in pod.seats.items()
        }
        root = next(iter(pod.seats.values())).root.parent
        return self.start(
            f"agent of {pod.name}: cleans", boot, lambda: self.product.clean(self.core, boot, workshops, root)
        )

    def every_pod(self) -> list[PodOnMachine]:
        """Return the pods that there are and those that there were."""
        return [*self.pods, *self.gone]

    def processes(self) -> Iterator[SlotProcess]:
        """Give the processes of all slots."""
        for pod in self.pods:
            yield from pod.processes()

    # ---------------------------------------------------------------- terraform

    def luck(self, *about: object) -> float:
        """Return a number from 0 to 1 that depends on nothing but the seed and what it is about."""
        return Dice(self.seed).luck(about)

    def _script(self, job: Job) -> tuple[int, int]:
        """Do what terraform does; returns how long it lasts and its exit code."""
        step = job.directory.name.split("-")[2]
        out = job.directory / files.OUT
        looks = 0 if self.calm else int(self.luck("looks", job.directory.name) * 3)
        fails = not self.calm and self.luck("fails", job.directory.name) < 0.06
        match step:
            case "apply":
                self._count_start(job)
                return looks, int(fails)
            case "plan":
                (job.cwd / "plan.out").write_bytes(f"plan of run {job.run_id}, fence {job.fence}".encode())
                return looks, 1 if fails else 2
            case "show":
                Path(job.argv[-1]).write_text("+ terraform_data.a\n")
                out.write_text('{"resource_changes": [{"change": {"actions": ["create"]}}]}')
            case _:
                out.write_text("done\n")
        return 0, 0

    def _lacking(self, queue: str) -> tuple[str, ...]:
        """Name a provider that this machine lacks, now and then: an apply without init is not possible then."""
        lucky = self.calm or self.luck("lacks", queue, self.database.transactions) < 0.7
        return () if lucky else ("hashicorp/null 2.1.2",)

    def _count_start(self, job: Job) -> None:
        with self.database.aside():
            run = self.database.read(runs.get, job.run_id)
        self.starts[job.run_id] += 1
        what = f"terraform apply of run {job.run_id} was started"
        if run is None or run.confirmed_at is None:
            self.wrong.append(f"{what} without a confirmation")
        elif hashlib.sha256((job.cwd / "plan.out").read_bytes()).hexdigest() != run.confirmed_hash:
            self.wrong.append(f"{what} with another plan than the confirmed one")
        if self.starts[job.run_id] > 1:
            self.wrong.append(f"{what} {self.starts[job.run_id]} times")
