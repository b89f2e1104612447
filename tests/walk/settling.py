"""Coming to rest: without faults and new wishes everything must end, or wait for a person who can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iacq.domain import transitions
from iacq.domain.run import Run, Status
from iacq.errors import Conflict
from iacq.services import freeze_changes
from iacq.store import runs, slots, workspaces
from iacq.store.session import Transaction
from tests.walk.cluster import POOL, WORKSPACES
from tests.walk.dice import Dice
from tests.walk.faults import World
from tests.walk.machines import ControlProcess, SlotProcess

if TYPE_CHECKING:
    from tests.walk.walk import Walk

ROUNDS = 300
PATIENCE = 75
"""Rounds of five seconds in which something must change: failed pods are tried again after five minutes at most."""
WAITS_FOR_A_PERSON = frozenset({Status.APPLY_PENDING, Status.APPLY_INTERRUPTED})


class Settling:
    """Lets time pass with all processes alive."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._cluster = walk.cluster
        self._world = World(walk.cluster)

    def run(self) -> None:
        """Tick until nothing is left to do. Notes in the cluster what never comes to rest."""
        self._cluster.calm = True
        self._finish()
        with self._cluster.database.aside():
            for name in WORKSPACES:
                self._cluster.core.database.run(workspaces.unlock, name)
            self._lift()
        before, same = [""], 0
        for _ in range(ROUNDS):
            self._tick()
            self._walk.check()
            left = self._unsettled()
            before, same = left, same + 1 if left == before else 0
            if not left or same == PATIENCE:
                break
        self._cluster.wrong += [f"it never comes to rest: {what}" for what in before]
        self._cluster.calm = False

    def _lift(self) -> None:
        try:
            freeze_changes.lift(self._cluster.core, POOL, reason="x", by="eve")
        except Conflict:
            return

    def _tick(self) -> None:
        cluster = self._cluster
        cluster.clock.advance(5)
        for pod in cluster.pods:
            pod.silent = False
        self._world.move_all()
        self._finish()
        for pod in list(cluster.pods):
            cluster.leave_if_done(pod)
        self._finish()
        self._respawn()
        for pod in cluster.pods:
            cluster.beat(pod)
        self._finish()
        for seat in (seat for pod in cluster.pods for seat in pod.seats.values()):
            for directory in list(seat.machine.programs):
                seat.machine.end(directory)
        for process in list(cluster.processes()):
            with cluster.database.aside():
                closed = cluster.core.database.read(_is_closed, process)
            if closed or not process.settled or process.owes or process.worker.look_again:
                cluster.settle(process)
                self._finish()
        first, second = cluster.controls
        for job in ("apply freeze windows", "dispatch", "resend", "expire warm-ups", "begin warm-ups"):
            self._job(first, job)
        while (rung := self._world.take_message(Dice(0))) is not None:
            cluster.deliver(rung)
            self._finish()
        for control in (first, second):
            self._job(control, "recover")
        self._job(first, "check agents")
        if cluster.managed:
            self._job(first, "reconcile pods")

    def _job(self, control: ControlProcess, job: str) -> None:
        self._walk.job(control, job)
        self._finish()

    def _respawn(self) -> None:
        cluster = self._cluster
        for pod in cluster.pods:
            for slot_id, seat in pod.seats.items():
                if seat.process is not None and seat.process.keeper.gone:
                    cluster.kill_process(seat)
                if seat.process is None and not pod.stopping:
                    cluster.respawn(pod, slot_id)
                    if seat.process is not None:
                        cluster.settle(seat.process)
                        self._finish()

    def _finish(self) -> None:
        """Let everything that is under way end: whoever is paused goes on."""
        for _ in range(20):
            for actor in list(self._walk.stage.actors):
                for _ in range(60):
                    if actor.ended:
                        break
                    self._walk.go_on(actor)
                    self._walk.check()
            if not self._walk.stage.actors:
                return
        self._cluster.wrong += [f"{actor.name} never ends: {actor.at}" for actor in self._walk.stage.actors]

    def _unsettled(self) -> list[str]:
        database = self._cluster.core.database
        with self._cluster.database.aside():
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


def _is_closed(tx: Transaction, process: SlotProcess) -> bool:
    place = process.worker.place
    slot = slots.at(tx, place.pod_name, place.slot_id)
    return slot is None or slot.closed is not None
