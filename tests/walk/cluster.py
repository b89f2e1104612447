"""A whole system in one thread: the product's own services and slots, with scripted keepers and a virtual clock.

Every operation of a slot's keeper or workshop is a point at which others act: a slot's phase is interleaved with
everything else, itself included (paused while time passes, its process, keeper or pod killed).
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from iacq import messages
from iacq.domain.pool import PoolPolicy
from iacq.domain.run import Phase
from iacq.domain.slot import Place
from iacq.domain.transitions import Cause
from iacq.errors import IacqError, PhaseFailed
from iacq.keeper import files
from iacq.ports import Job
from iacq.services import agents, cleaning
from iacq.services.core import Core
from iacq.services.phases import runner, unfinished, warmup
from iacq.services.phases.context import SlotWorker
from iacq.services.recovering import LeaseWatch
from iacq.settings import Settings
from iacq.store import freezes, pods, pools, runs, workspaces
from iacq.store.pods import Registration
from iacq.store.schema import events
from iacq.store.session import Database, Transaction
from iacq.testing.clock import FakeClock
from iacq.testing.core import make_core
from iacq.testing.dispatcher import RecordingDispatcher, Rung
from iacq.testing.git import FakeGit
from iacq.testing.keeper import Machine, ScriptedKeeper
from iacq.testing.workshop import ScriptedWorkshop
from tests import invariants, samples

POOL = "default"
WORKSPACES = ("network", "cluster")
FETCHED = "cluster"
"""Its source is a git repository: fetching it is one more command that may be lost."""


_RENEWED = 0.3
"""How often a lease is renewed between two steps: its thread does so when a step begins."""


class NoThreads(Executor):
    """Does nothing: the walk itself does what the threads of a phase would, so that a seed is one history.

    Logs are stored at the end of a phase only.
    """

    def submit(self, *_task: Any, **_arguments: Any) -> Future[Any]:
        done = Future[Any]()
        done.set_result(None)
        return done


class Died(BaseException):
    """SIGKILL: nothing of the process runs any more, not even an `except Exception`."""


class Broken(AssertionError):  # noqa: N818 - it says what happened
    """An invariant does not hold."""


@dataclass(eq=False)
class SlotProcess:
    """One boot of a slot's process."""

    worker: SlotWorker
    keeper: ScriptedKeeper
    dead: bool = False
    settled: bool = False  # its first look at what a predecessor left was done

    @property
    def busy(self) -> bool:
        return self.worker.lock.locked()


@dataclass
class Seat:
    """A slot of a pod on its machine: what outlives the slot's processes."""

    root: Path
    machine: Machine = field(default_factory=Machine)
    process: SlotProcess | None = None
    keeper: ScriptedKeeper | None = None
    boots: int = 0


@dataclass
class PodOnMachine:
    """A pod's name and place; `registration` is its present boot, None: it is down."""

    name: str
    seats: dict[int, Seat]
    boots: int = 0
    registration: Registration | None = None
    stopping: bool = False
    silent: bool = False  # its heartbeat does not get through


class Cluster:
    """Everything that there is; the walk decides what happens next."""

    def __init__(self, database: Database, clock: FakeClock, root: Path, rng: random.Random) -> None:
        self.clock = clock
        self.rng = rng
        self.dispatcher = RecordingDispatcher()
        settings = Settings(home=root, renew=3600.0, disk_floor=0)
        made = make_core(database.url, root, clock=clock, dispatcher=self.dispatcher, settings=settings)
        self.core: Core = dataclasses.replace(made, database=database)
        self.watches = [LeaseWatch(), LeaseWatch()]
        self.starts: Counter[int] = Counter()
        self.warmed = 0
        self.interleave: Callable[[SlotProcess], None] = lambda _process: None
        self.calm = False  # faults are off
        self._frozen: tuple[int | None, int] = (None, 0)  # since when, and how much was begun before, as last seen
        self._links = root / "links"
        self.pods = [
            PodOnMachine(name=f"pod{number}", seats={n: Seat(root=root / f"pod{number}" / f"slot-{n}") for n in (1, 2)})
            for number in (1, 2)
        ]
        for name in WORKSPACES:
            fields = {"path": None, "git": "https://host/x"} if name == FETCHED else {}
            database.run(workspaces.insert, samples.workspace(name, **fields), secrets=None)
        database.run(pools.set_policy, POOL, PoolPolicy(max_pods=2, slots_per_pod=2))

    # ---------------------------------------------------------------- processes

    def boot(self, pod: PodOnMachine) -> None:
        """A new boot of the pod: its agent registers, its slots have new keepers and processes."""
        pod.boots += 1
        pod.stopping = pod.silent = False
        pod.registration = Registration(
            pod_name=pod.name, agent_id=f"{pod.name}-boot{pod.boots}", pool="default", slots=len(pod.seats)
        )
        for seat in pod.seats.values():
            seat.keeper = None
        agents.register(self.core, pod.registration)
        for slot_id in pod.seats:
            self.respawn(pod, slot_id)

    def respawn(self, pod: PodOnMachine, slot_id: int) -> None:
        """A new process for a slot, as the agent makes it; a new keeper if the old one is gone."""
        seat = pod.seats[slot_id]
        if pod.registration is None:
            return
        seat.boots += 1
        holder: list[SlotProcess] = []

        def before(_operation: str) -> None:
            self.between(holder[0])

        workshop = ScriptedWorkshop(seat.root, self._links, before=before, lacks=self._lacking)
        keeper = ScriptedKeeper(seat.machine, boottime=self.clock.boottime, script=self._script, before=before)
        place = Place(pod_name=pod.name, slot_id=slot_id, agent_id=pod.registration.agent_id, boot=str(seat.boots))
        worker = SlotWorker(
            core=self.core,
            place=place,
            keeper=keeper,
            workshop=workshop,
            git=FakeGit(),
            jobs=workshop.jobs,
            threads=NoThreads(),
        )
        seat.keeper = keeper
        seat.process = SlotProcess(worker=worker, keeper=keeper)
        holder.append(seat.process)

    def kill_process(self, seat: Seat) -> None:
        if seat.process is not None:
            seat.process.dead = True
            seat.process = None

    def kill_pod(self, pod: PodOnMachine, *, machine_too: bool) -> str:
        """SIGKILL of everything; machine_too: of its terraforms as well, of which nobody learns anything."""
        pod.registration = None
        for seat in pod.seats.values():
            self.kill_process(seat)
            if seat.keeper is not None:
                seat.keeper.gone = True
            if machine_too:
                for directory in list(seat.machine.programs):
                    seat.machine.vanish(directory)
        return pod.name

    def stop_pod(self, pod: PodOnMachine) -> None:
        """SIGTERM: no new claims; what waits goes elsewhere; what runs may go on for a while."""
        pod.stopping = True
        for seat in pod.seats.values():
            if seat.process is not None:
                seat.process.worker.stop_at = self.clock.monotonic() + 15
                agents.drain_slot(self.core, seat.process.worker.place)

    def leave_if_done(self, pod: PodOnMachine) -> None:
        """The end of a stopping pod, once its slots' processes ended."""
        if not pod.stopping or pod.registration is None:
            return
        for seat in pod.seats.values():
            if seat.process is not None and not seat.process.busy:
                self.kill_process(seat)
        if all(seat.process is None for seat in pod.seats.values()):
            agents.leave(self.core, pod.registration)
            pod.registration = None

    def between(self, process: SlotProcess) -> None:
        """A slot's process is between two steps: others act, and it may be dead afterwards."""
        if not self.calm:
            self.interleave(process)
        if process.dead:
            raise Died
        if self.rng.random() < _RENEWED:
            self.renew(process)

    # ---------------------------------------------------------------- what slots do

    def settle(self, process: SlotProcess) -> None:
        """What a slot's process does when it begins, and whenever it is asked whether it is there."""
        if process.busy or process.dead:
            return
        process.settled = True
        worker = process.worker
        with contextlib.suppress(Died), worker.lock, contextlib.suppress(IacqError):
            if unfinished.settle(worker):
                unfinished.open_slot(worker)

    def deliver(self, rung: Rung) -> None:
        """A message reaches whoever consumes its queue; nobody is there: it stays lost until it is rung again."""
        name, _, which = rung.queue.partition(".")
        pod = next((pod for pod in self.pods if pod.name == name), None)
        if pod is None or pod.registration is None:
            return
        if which == "agent":
            self._housekeep(pod, rung)
            return
        process = pod.seats[int(which)].process
        if process is None or process.busy or not process.settled:
            return
        if rung.task == messages.ANSWER:
            self.settle(process)
            return
        if rung.task == messages.WARMUP:
            with contextlib.suppress(Died, PhaseFailed):
                self.warmed += bool(warmup.answer_doorbell(process.worker, **rung.arguments))
            return
        with contextlib.suppress(Died):
            runner.answer_doorbell(process.worker, **{**rung.arguments, "phase": Phase(rung.arguments["phase"])})

    def _housekeep(self, pod: PodOnMachine, rung: Rung) -> None:
        if rung.task == messages.SIGNAL_RUN:
            process = pod.seats[int(rung.arguments["slot_id"])].process
            if process is not None:
                self.renew(process)

    def clean(self, pod: PodOnMachine) -> None:
        if pod.registration is None:
            return
        workshops = {
            slot_id: ScriptedWorkshop(seat.root, self._links, before=lambda _operation: None)
            for slot_id, seat in pod.seats.items()
        }
        cleaning.remove_work_dirs(self.core, pod.registration, workshops, next(iter(pod.seats.values())).root.parent)

    def renew(self, process: SlotProcess) -> None:
        """Do what a slot's lease thread does."""
        lease = process.worker.lease
        if lease is None or lease.lost or process.dead:
            return
        self.clock.advance(0.001)
        lease.renew()

    def beat(self, pod: PodOnMachine) -> None:
        """The heartbeat of a pod; it registers anew whenever it counts as gone."""
        if pod.registration is None or pod.silent or pod.stopping:
            return
        name, agent_id = pod.registration.pod_name, pod.registration.agent_id
        if not self.core.database.read(pods.is_registered, name, agent_id):
            agents.register(self.core, pod.registration)
            for seat in pod.seats.values():
                if seat.process is not None:
                    self.settle(seat.process)
        self.core.database.run(pods.beat, name, agent_id)

    # ---------------------------------------------------------------- terraform

    def _script(self, job: Job) -> tuple[int, int]:
        """Do what terraform does; returns how long it lasts and its exit code."""
        step = job.directory.name.split("-")[2]
        out = job.directory / files.OUT
        looks = 0 if self.calm else self.rng.randrange(3)
        fails = not self.calm and self.rng.random() < 0.06
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

    def _lacking(self) -> tuple[str, ...]:
        """Name a provider that this machine lacks, now and then: an apply without init is not possible then."""
        return () if self.calm or self.rng.random() < 0.7 else ("hashicorp/null 2.1.2",)

    def _count_start(self, job: Job) -> None:
        run = self.core.database.read(runs.get, job.run_id)
        self.starts[job.run_id] += 1
        if run is None or run.confirmed_at is None:
            raise Broken(f"terraform apply of run {job.run_id} was started without a confirmation")
        if self.starts[job.run_id] > 1:
            raise Broken(f"terraform apply of run {job.run_id} was started {self.starts[job.run_id]} times")

    def check(self) -> None:
        """Raise Broken if the rows do not agree, or more than one terraform applies for a workspace."""
        wrong = self.core.database.read(invariants.broken)
        applying: Counter[str] = Counter()
        for pod in self.pods:
            for seat in pod.seats.values():
                for program in seat.machine.programs.values():
                    if program.job.directory.name.endswith("-apply"):
                        run = self.core.database.read(runs.get, program.job.run_id)
                        applying[run.workspace if run else "?"] += 1
        since, begun = self.core.database.read(_begun)
        if since is not None and since == self._frozen[0] and begun != self._frozen[1]:
            wrong.append("something was queued or claimed in a frozen pool")
        self._frozen = (since, begun)
        wrong += [f"{count} applies of {name} run at once" for name, count in applying.items() if count > 1]
        if wrong:
            raise Broken("; ".join(wrong))


def _begun(tx: Transaction) -> tuple[int | None, int]:
    """Return since when the pool is marked frozen, and how often anything was queued or claimed there ever."""
    begun = sa.select(sa.func.count()).where(events.c.cause.in_([Cause.DISPATCHED, Cause.CLAIMED]))
    return freezes.find(tx, POOL).frozen_since, tx.execute(begun).scalar_one()
