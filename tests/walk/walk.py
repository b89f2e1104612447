"""A seeded random walk: which thing happens next."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from iacq.domain import transitions
from iacq.domain.run import Phase, Run, RunType, Status
from iacq.domain.slot import SlotStatus
from iacq.errors import Conflict, IacqError
from iacq.services import confirming, dispatching, enqueuing, freeze_changes, freezing, recovering, warming
from iacq.services.freeze_changes import Until
from iacq.store import runs, slots, workspaces
from iacq.store.protocol import waiting
from iacq.store.session import Database
from iacq.testing.clock import FakeClock
from tests.walk.cluster import POOL, WORKSPACES, Broken, Cluster, PodOnMachine, Seat, SlotProcess

DEEPEST = 3
"""Phases within phases: how many slots may be in the middle of something."""
SETTLING_ROUNDS = 120
SHOWN = 120
WAITS_FOR_A_PERSON = frozenset({Status.APPLY_PENDING, Status.APPLY_INTERRUPTED})

Action = Callable[[], object]
DONE = "done"


class Walk:
    """One history. `run` raises Broken, with the seed and what happened, if it should not have come to this."""

    def __init__(
        self, database: Database, clock: FakeClock, root: Path, seed: int, favoured: Mapping[str, int]
    ) -> None:
        """database: with `clock` as its clock; a variant of the product replaces steps in it.

        favoured: things that happen so many times as often as usual.
        """
        self.seed = seed
        self.favoured = favoured
        self.rng = random.Random(seed)
        self.cluster = Cluster(database, clock, root, self.rng)
        self.cluster.interleave = self._interleave
        self.trace: list[str] = []
        self._depth = 0
        self._left = 0
        self._quiet = seed % 2 == 0  # slots are free to warm up in, and people take their time
        self._actions = self._weighed()

    def run(self, steps: int) -> None:
        """Take that many steps, then let everything come to rest."""
        self._left = steps
        try:
            for pod in self.cluster.pods:
                self.cluster.boot(pod)
            while self._left > 0:
                self._step()
            self._settle()
        except Broken as broken:
            shown = "\n".join(self.trace[-SHOWN:])
            raise Broken(f"seed {self.seed}, after {len(self.trace)} steps: {broken}\n{shown}") from broken

    # ---------------------------------------------------------------- choosing

    def _step(self) -> None:
        weights = [weight * self.favoured.get(name, 1) for name, weight, _ in self._actions]
        name, _, action = self.rng.choices(self._actions, weights)[0]
        self._take(name, action)

    def _take(self, name: str, action: Action) -> None:
        """Do it. None: there was nothing to do it with, and it does not count."""
        self._left -= 1
        at = len(self.trace)
        self.trace.append("")
        self._depth += 1
        self.trace[at] = f"{'  ' * self._depth}{name}"
        try:
            said = action()
        finally:
            self._depth -= 1
        if said is None:
            self._left += 1
            del self.trace[at]
            return
        self.trace[at] += f": {said}"
        self.cluster.check()

    def _interleave(self, process: SlotProcess) -> None:
        """A phase is between two steps: perhaps something else happens now, and applies have most of the bad luck."""
        lease = process.worker.lease
        luck = 0.25 if lease is not None and lease.hold.phase is Phase.APPLY else 0.02
        if self._left > 0 and self.rng.random() < luck:
            faults = self._faults_of(process)
            name, action = self.rng.choices(faults, [self.favoured.get(name, 1) for name, _ in faults])[0]
            self._take(name, action)
        while self._left > 0 and self._depth < DEEPEST and self.rng.random() < 0.4:
            self._step()

    def _faults_of(self, process: SlotProcess) -> list[tuple[str, Action]]:
        cluster, place = self.cluster, process.worker.place
        pod = next(pod for pod in cluster.pods if pod.name == place.pod_name)
        seat = pod.seats[place.slot_id]

        def die() -> str:
            process.dead = True
            if seat.process is process:
                seat.process = None
            return place.owner

        def lose_keeper() -> str:
            process.keeper.gone = True
            return place.owner

        return [
            ("its process is killed", die),
            ("its process is killed", die),
            ("its keeper is killed", lose_keeper),
            ("it is paused past its lease", self._outlast_leases),
            ("its machine crashes", lambda: cluster.kill_pod(pod, machine_too=True)),
            ("its pod is killed", lambda: cluster.kill_pod(pod, machine_too=False)),
            ("nothing but time passes", self._pass_time),
        ]

    def _weighed(self) -> list[tuple[str, int, Action]]:
        cluster = self.cluster
        return [
            ("enqueue", 6, self._enqueue),
            ("dispatch", 20, lambda: dispatching.dispatch(cluster.core)),
            ("deliver", 40, self._deliver),
            ("resend", 3, lambda: dispatching.resend(cluster.core)),
            ("recover", 5, lambda: recovering.recover(cluster.core, self.rng.choice(cluster.watches))),
            ("check agents", 3, lambda: recovering.check_agents(cluster.core)),
            ("expire plans", 1, lambda: recovering.expire_plans(cluster.core)),
            ("give up a reservation", 6, self._give_up_reservation),
            ("begin warm-ups", 14, lambda: warming.begin(cluster.core)),
            ("expire warm-ups", 3, lambda: warming.expire(cluster.core)),
            ("confirm", 20, self._confirm),
            ("discard", 1, self._discard),
            ("cancel", 2, self._cancel),
            ("lock", 1, lambda: self._lock(locked=True)),
            ("unlock", 4, lambda: self._lock(locked=False)),
            ("freeze", 1, self._freeze),
            ("lift", 4, self._lift),
            ("apply freeze windows", 3, lambda: freezing.apply_windows(cluster.core)),
            ("resolve", 3, self._resolve),
            ("leases run out", 5, self._outlast_leases),
            ("time passes", 5, self._pass_time),
            ("a long time passes", 1, self._pass_long_time),
            ("heartbeats", 10, self._beat),
            ("renew", 4, self._renew),
            ("settle", 16, self._settle_slot),
            ("lose a message", 2, self._lose_message),
            ("double a message", 8, self._double_message),
            ("kill a slot's process", 4, self._kill_process),
            ("kill a keeper", 1, self._kill_keeper),
            ("kill a pod", 1, lambda: self._kill_pod(machine_too=False)),
            ("crash a machine", 1, lambda: self._kill_pod(machine_too=True)),
            ("a terraform vanishes", 1, self._vanish),
            ("an orphan ends", 2, self._end_orphan),
            ("a pod falls silent", 1, lambda: self._silence(silent=True)),
            ("a pod is heard again", 4, lambda: self._silence(silent=False)),
            ("stop a pod", 1, self._stop_pod),
            ("leave", 6, self._leave),
            ("boot", 8, self._boot),
            ("respawn", 12, self._respawn),
            ("clean", 2, self._clean),
        ]

    def _any(self, *statuses: Status) -> Run | None:
        found = self.cluster.core.database.read(runs.listed, statuses=statuses or None)
        return self.rng.choice(found) if found else None

    def _pod(self) -> PodOnMachine:
        return self.rng.choice(self.cluster.pods)

    def _seat(self) -> Seat:
        return self.rng.choice(list(self._pod().seats.values()))

    def _processes(self) -> Iterator[SlotProcess]:
        for pod in self.cluster.pods:
            for seat in pod.seats.values():
                if seat.process is not None:
                    yield seat.process

    # ---------------------------------------------------------------- people and services

    def _enqueue(self) -> object:
        kinds = [RunType.PLAN_AND_APPLY] * 5 + [RunType.DESTROY, RunType.PLAN, RunType.DRIFT]
        request = enqueuing.Request(
            workspace=self.rng.choice(WORKSPACES),
            run_type=self.rng.choice(kinds),
            by=self.rng.choice(["alice", "bob"]),
            priority=self.rng.choice([0, 0, 0, 5]),
            auto_apply=self.rng.random() < 0.3,
            supersede=self.rng.random() < 0.1,
        )
        unended = set(Status) - transitions.ENDED
        if len(self.cluster.core.database.read(runs.listed, statuses=unended)) >= (3 if self._quiet else 8):
            return None
        run = enqueuing.enqueue(self.cluster.core, request)
        return f"run {run.id} {run.run_type} of {run.workspace}"

    def _confirm(self) -> object:
        run = self._any(Status.APPLY_PENDING)
        if run is None or run.plan_hash is None or (self._quiet and self.rng.random() < 0.8):
            return None
        return self._say(run, lambda: confirming.confirm(self.cluster.core, run.id, plan_hash=run.plan_hash, by="eve"))

    def _give_up_reservation(self) -> object:
        """As a pool at its maximum does, or one whose pods are replaced."""
        database = self.cluster.core.database
        kept = [slot for slot in database.read(slots.listed) if slot.status is SlotStatus.RESERVED]
        slot = self.rng.choice(kept) if kept else None
        run = database.read(runs.get, slot.run_id or 0) if slot else None
        if slot is None or run is None:
            return None
        return database.attempt(waiting.give_up_reservation, run, slot) and f"{slot.queue} of run {run.id}"

    def _discard(self) -> object:
        run = self._any(Status.APPLY_PENDING)
        return run and self._say(run, lambda: confirming.discard(self.cluster.core, run.id, by="eve"))

    def _cancel(self) -> object:
        run = self._any(*(set(Status) - transitions.ENDED - {Status.PENDING}))
        force = self.rng.random() < 0.5
        return run and self._say(run, lambda: confirming.cancel(self.cluster.core, run.id, by="eve", force=force))

    def _resolve(self) -> object:
        run = self._any(Status.APPLY_INTERRUPTED)
        return run and self._say(
            run, lambda: confirming.resolve(self.cluster.core, run.id, applied=False, by="eve", comment="x")
        )

    def _say(self, run: Run, what: Callable[[], Run]) -> str:
        try:
            return f"run {run.id}, {run.status} → {what().status}"
        except IacqError as error:
            return f"run {run.id}: {error.message}"

    def _lock(self, *, locked: bool) -> object:
        name = self.rng.choice(WORKSPACES)
        database = self.cluster.core.database
        if locked is (database.read(workspaces.get, name).locked_at is not None):
            return None
        if locked:
            database.run(workspaces.lock, name, by="eve", reason="x")
        else:
            database.run(workspaces.unlock, name)
        return name

    def _freeze(self) -> object:
        until = self.rng.choice([None, Until(text="20s"), Until(text="2h")])
        return freeze_changes.freeze_now(self.cluster.core, POOL, until=until, reason="x", by="eve").text

    def _lift(self) -> object:
        try:
            return freeze_changes.lift(self.cluster.core, POOL, reason="x", by="eve").text
        except Conflict:
            return None

    # ---------------------------------------------------------------- messages and time

    def _take_message(self) -> Any:
        mailbox = self.cluster.dispatcher.rung
        mailbox[:] = [rung for rung in mailbox if rung.queue != "iacq.control"]  # beat asks anyway
        return mailbox.pop(self.rng.randrange(len(mailbox))) if mailbox else None

    def _deliver(self) -> object:
        rung = self._take_message()
        if rung is None:
            return None
        self.trace.append(f"{'  ' * self._depth}  {rung.task} to {rung.queue} {rung.arguments}")
        self.cluster.deliver(rung)
        return "delivered"

    def _lose_message(self) -> object:
        return self._take_message()

    def _double_message(self) -> object:
        rung = self._take_message()
        if rung is not None:
            self.cluster.dispatcher.rung += [rung, rung]
        return rung

    def _pass_time(self) -> object:
        seconds = self.rng.choice([1, 5, 15, 25, 50])
        self.cluster.clock.advance(seconds)
        return f"{seconds} s"

    def _pass_long_time(self) -> str:
        seconds = self.rng.choice([90, 3600, 8 * 86_400])
        self.cluster.clock.advance(seconds)
        return f"{seconds} s"

    def _outlast_leases(self) -> str:
        """Whoever does not renew for that long has lost its run: paused, cut off, or dead."""
        settings = self.cluster.core.settings
        for wait in (settings.lease, settings.lease_confirm):
            self.cluster.clock.advance(wait + 1)
            self._beat()
            for watch in self.cluster.watches:
                recovering.recover(self.cluster.core, watch)
        return DONE

    def _beat(self) -> str:
        for pod in self.cluster.pods:
            self.cluster.beat(pod)
        return DONE

    def _renew(self) -> str | None:
        busy = [process for process in self._processes() if process.worker.lease is not None]
        for process in busy:
            self.cluster.renew(process)
        return DONE if busy else None

    def _settle_slot(self) -> object:
        process = self._seat().process
        if process is not None and process.worker.stop_at is None:
            self.cluster.settle(process)
            return process.worker.place.owner
        return None

    # ---------------------------------------------------------------- faults

    def _kill_process(self) -> object:
        seat = self._seat()
        self.cluster.kill_process(seat)
        return seat.root.parent.name, seat.root.name

    def _kill_keeper(self) -> object:
        seat = self._seat()
        if seat.keeper is not None:
            seat.keeper.gone = True
        return seat.root.parent.name, seat.root.name

    def _kill_pod(self, *, machine_too: bool) -> object:
        pod = self._pod()
        self.cluster.kill_pod(pod, machine_too=machine_too)
        return pod.name

    def _vanish(self) -> object:
        machine = self._seat().machine
        for directory in list(machine.programs):
            machine.vanish(directory)
            return directory.name
        return None

    def _end_orphan(self) -> object:
        """A terraform whose slot's process is gone ends; its keeper, or the agent, writes the result."""
        seat = self._seat()
        for directory in list(seat.machine.programs):
            seat.machine.end(directory)
            return directory.name
        return None

    def _silence(self, *, silent: bool) -> object:
        pod = self._pod()
        if pod.silent is silent:
            return None
        pod.silent = silent
        return pod.name

    def _stop_pod(self) -> object:
        pod = self._pod()
        if pod.registration is not None and not pod.stopping:
            self.cluster.stop_pod(pod)
        return pod.name

    def _leave(self) -> str | None:
        leaving = [pod for pod in self.cluster.pods if pod.stopping and pod.registration is not None]
        for pod in leaving:
            self.cluster.leave_if_done(pod)
        return DONE if leaving else None

    def _boot(self) -> object:
        for pod in self.cluster.pods:
            if pod.registration is None:
                self.cluster.boot(pod)
                return pod.name
        return None

    def _respawn(self) -> str | None:
        respawned = None
        for pod in self.cluster.pods:
            for slot_id, seat in pod.seats.items():
                process = seat.process
                if process is not None and process.keeper.gone and not process.busy:
                    self.cluster.kill_process(seat)  # it ends by itself, to get a new keeper
                if seat.process is None and not pod.stopping:
                    self.cluster.respawn(pod, slot_id)
                    if seat.process is not None:
                        self.cluster.settle(seat.process)
                        respawned = DONE
        return respawned

    def _clean(self) -> str:
        for pod in self.cluster.pods:
            self.cluster.clean(pod)
        return DONE

    # ---------------------------------------------------------------- coming to rest

    def _settle(self) -> None:
        """Faults are over, nobody asks for anything: everything must end, or wait for a person who can answer."""
        cluster = self.cluster
        cluster.calm = True
        for name in WORKSPACES:
            cluster.core.database.run(workspaces.unlock, name)
        self._lift()
        for _ in range(SETTLING_ROUNDS):
            self._tick()
            cluster.check()
            if not self._unsettled():
                return
        raise Broken("it never comes to rest: " + "; ".join(self._unsettled()))

    def _tick(self) -> None:
        cluster, core = self.cluster, self.cluster.core
        cluster.clock.advance(5)
        for pod in cluster.pods:
            pod.silent = False
            cluster.leave_if_done(pod)
            if pod.registration is None:
                cluster.boot(pod)
        self._respawn()
        self._beat()
        for seat in (seat for pod in cluster.pods for seat in pod.seats.values()):
            for directory in list(seat.machine.programs):
                seat.machine.end(directory)
        for process in list(self._processes()):
            if core.database.read(_is_closed, process):
                cluster.settle(process)
        freezing.apply_windows(core)
        dispatching.dispatch(core)
        dispatching.resend(core)
        warming.expire(core)
        warming.begin(core)
        while (rung := self._take_message()) is not None:
            cluster.deliver(rung)
        for watch in cluster.watches:
            recovering.recover(core, watch)
        recovering.check_agents(core)

    def _unsettled(self) -> list[str]:
        database = self.cluster.core.database
        unended = database.read(runs.listed, statuses=set(Status) - transitions.ENDED)
        held = {slot.run_id for slot in database.read(slots.listed)}
        answerable = [run for run in unended if run.status in WAITS_FOR_A_PERSON and not _is_unproven(run, held)]
        behind = {run.workspace for run in answerable if run.run_type.changes_state}
        return [
            f"run {run.id} {run.run_type} of {run.workspace} is {run.status}"
            for run in unended
            if run not in answerable
            and not (run.status is Status.PENDING and run.run_type.changes_state and run.workspace in behind)
        ]


def _is_unproven(run: Run, held: set[int | None]) -> bool:
    """An interrupted run that nobody may resolve yet, since its terraform may be alive."""
    return run.status is Status.APPLY_INTERRUPTED and run.id in held


def _is_closed(tx: Any, process: SlotProcess) -> bool:
    place = process.worker.place
    slot = slots.at(tx, place.pod_name, place.slot_id)
    return slot is None or slot.closed is not None


@contextlib.contextmanager
def walking(
    url: str,
    root: Path,
    seed: int,
    make: Callable[..., Database] = Database,
    favoured: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[Walk]:
    """Give a walk on a fresh database. make: Database, or a variant of it; favoured: see Walk."""
    clock = FakeClock()
    database = make(url, clock=clock.now_ms)
    try:
        yield Walk(database, clock, root, seed, favoured)
    finally:
        database.close()
