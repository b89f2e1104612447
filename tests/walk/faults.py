"""What happens to processes, pods, messages and time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from iacq.domain.run import Phase
from iacq.ports import PodPhase
from tests.walk.actors import Actor, Fault
from tests.walk.cluster import Cluster
from tests.walk.dice import Dice
from tests.walk.machines import PodOnMachine, Seat, SlotProcess, make_pod

if TYPE_CHECKING:
    from iacq.testing.dispatcher import Rung

DONE = "done"
Said = str | None
"""What happened; None: there was nothing that it could happen to."""


class World:
    """Each method lets one thing happen."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    # choosing

    def _pod(self, dice: Dice) -> PodOnMachine | None:
        return dice.pick(self._cluster.pods, "pod")

    def _seats(self) -> Iterator[Seat]:
        return (seat for pod in self._cluster.pods for seat in pod.seats.values())

    def _seat(self, dice: Dice) -> Seat | None:
        """Choose a slot; those in which something is going on have most of the bad luck, applies above all."""
        busy = [seat for seat in self._seats() if seat.process and self._cluster.stage.of(seat.process)]
        applying = [seat for seat in busy if seat.process and _is_applying(seat.process)]
        if applying and dice.chance(0.6, "applying"):
            return dice.pick(applying)
        return dice.pick(busy if busy and dice.chance(0.7, "busy") else self._seats())

    # processes

    def kill_process(self, dice: Dice) -> Said:
        seat = self._seat(dice)
        if seat is None or seat.process is None:
            return None
        queue = seat.process.worker.place.queue
        return f"slot {queue}: {self._cluster.kill_process(seat) or 'idle'}"

    def kill_keeper(self, dice: Dice) -> Said:
        seat = self._seat(dice)
        if seat is None or seat.keeper is None or seat.keeper.gone:
            return None
        seat.keeper.gone = True
        return str(seat.root.relative_to(seat.root.parents[1]))

    def kill_asker(self, dice: Dice) -> Said:
        """A client, or a housekeeping thread, dies in the middle of what it does."""
        serving = {id(process) for process in self._cluster.processes()} | {id(c) for c in self._cluster.controls}
        boots = {id(pod.registration) for pod in self._cluster.pods}
        actor = dice.pick(a for a in self._cluster.stage.actors if id(a.owner) not in serving | boots)
        return str(self._cluster.stage.kill(actor.owner)) if actor else None

    def kill_control(self, dice: Dice) -> Said:
        control = dice.pick(self._cluster.controls)
        if control is None:
            return None
        control.watch = self._cluster.product.watch()
        return f"{control.name}: {self._cluster.stage.kill(control) or 'idle'}"

    def kill_pod(self, dice: Dice) -> Said:
        """Its processes die, its terraforms live on."""
        pod = self._pod(dice)
        if pod is None or pod.registration is None:
            return None
        self._cluster.end_pod(pod)
        return pod.name

    def crash(self, dice: Dice) -> Said:
        """All of it dies; it may come back under the same name."""
        pod = self._pod(dice)
        if pod is None or (pod.registration is None and not any(pod.applies())):
            return None
        self._cluster.crash(pod)
        if pod.managed and dice.chance(0.5, "fails"):
            self._cluster.runtime.change(pod.name, phase=PodPhase.FAILED, reason="it crashed")
            return f"{pod.name}, for good"
        return pod.name

    def lose_node(self, dice: Dice) -> Said:
        """All of it dies, and whatever runs pods knows it."""
        pod = self._pod(dice)
        if pod is None or not pod.managed:
            return None
        self._cluster.vanish(pod)
        return pod.name

    def lose_terraform(self, dice: Dice) -> Said:
        """A terraform ends and nobody learns anything of it."""
        seat = self._seat(dice)
        for directory in list(seat.machine.programs if seat else ()):
            assert seat
            seat.machine.vanish(directory)
            return directory.name
        return None

    def end_orphan(self, dice: Dice) -> Said:
        """A terraform whose slot's process is gone ends; its keeper, or the agent, writes the result."""
        seat = dice.pick(seat for seat in self._seats() if seat.machine.programs)
        for directory in list(seat.machine.programs if seat else ()):
            assert seat
            seat.machine.end(directory)
            return directory.name
        return None

    def silence(self, dice: Dice) -> Said:
        return self._hear(dice, silent=True)

    def hear(self, dice: Dice) -> Said:
        return self._hear(dice, silent=False)

    def _hear(self, dice: Dice, *, silent: bool) -> Said:
        pod = dice.pick(pod for pod in self._cluster.pods if pod.silent is not silent)
        if pod is None:
            return None
        pod.silent = silent
        return pod.name

    def stop_pod(self, dice: Dice) -> Actor | None:
        pod = self._pod(dice)
        if pod is None or pod.registration is None or pod.stopping or pod.managed:
            return None
        return self._cluster.stop_pod(pod)

    # the database, seen by one process

    def fail_database(self, dice: Dice) -> Actor | None:
        actor = dice.pick(self._cluster.stage.actors)
        if actor is not None:
            actor.fault = Fault.AWAY
        return actor

    def lose_answer(self, dice: Dice) -> Actor | None:
        actor = dice.pick(actor for actor in self._cluster.stage.actors if actor.writes)
        if actor is not None:
            actor.fault = Fault.LOST_ANSWER
        return actor

    # what runs pods

    def move_pods(self, dice: Dice) -> Said | Actor:
        """Whatever runs pods does its part for one of them."""
        found = dice.pick([*self._cluster.pods, *self._unmade()])
        return self.move(found) if found is not None else None

    def _unmade(self) -> list[PodOnMachine]:
        known = {pod.name for pod in self._cluster.pods}
        starting = (pod for pod in self._cluster.runtime.pods.values() if pod.name not in known)
        return [make_pod(pod.name, self._cluster.root, managed=True) for pod in starting]

    def move(self, pod: PodOnMachine) -> Said | Actor:
        """Start it, stop it, start its agent again, or say that it is gone."""
        cluster = self._cluster
        present = cluster.runtime.pods.get(pod.name)
        if not pod.managed:
            return cluster.boot(pod) if pod.registration is None else None
        if present is None or present.phase is PodPhase.FAILED:
            return None
        if present.phase is PodPhase.STOPPING:
            if pod not in cluster.pods or pod.registration is None:
                return self._bury(pod)
            return None if pod.stopping else cluster.stop_pod(pod)
        if pod not in cluster.pods:
            cluster.pods.append(pod)
        return cluster.boot(pod) if pod.registration is None else None

    def _bury(self, pod: PodOnMachine) -> Said:
        if pod in self._cluster.pods:
            self._cluster.vanish(pod)
        else:
            self._cluster.runtime.vanish(pod.name)
        return f"{pod.name} is gone"

    def move_all(self) -> None:
        """Let whatever runs pods do its part for all of them."""
        for pod in [*self._cluster.pods, *self._unmade()]:
            self.move(pod)

    def end_grace(self, dice: Dice) -> Said:
        """A stopping pod has had its time: what is left is killed."""
        pod = dice.pick(pod for pod in self._cluster.pods if pod.stopping)
        if pod is None:
            return None
        if pod.managed:
            self._cluster.vanish(pod)
        else:
            self._cluster.crash(pod)
        return pod.name

    def leave(self, dice: Dice) -> Actor | None:
        pod = dice.pick(pod for pod in self._cluster.pods if pod.stopping)
        return self._cluster.leave_if_done(pod) if pod else None

    # messages and time

    def take_message(self, dice: Dice) -> Rung | None:
        mailbox = self._cluster.dispatcher.rung
        mailbox[:] = [rung for rung in mailbox if rung.queue != "iacq.control"]  # beat asks anyway
        chosen = dice.pick(enumerate(mailbox))
        return mailbox.pop(chosen[0]) if chosen else None

    def take_messages(self, task: str) -> list[Rung]:
        """Take all messages of a kind."""
        mailbox = self._cluster.dispatcher.rung
        taken = [rung for rung in mailbox if rung.task == task]
        mailbox[:] = [rung for rung in mailbox if rung.task != task]
        return taken

    def deliver(self, dice: Dice) -> Said | Actor:
        rung = self.take_message(dice)
        if rung is None:
            return None
        return self._cluster.deliver(rung) or f"nobody takes {rung.task} in {rung.queue}"

    def lose_message(self, dice: Dice) -> Said:
        rung = self.take_message(dice)
        return str(rung) if rung else None

    def double_message(self, dice: Dice) -> Said:
        rung = self.take_message(dice)
        if rung is None:
            return None
        self._cluster.dispatcher.rung += [rung, rung]
        return f"{rung.task} to {rung.queue} {rung.arguments}"

    def pass_time(self, dice: Dice) -> Said:
        return self._pass(dice.pick([1, 5, 15, 25, 50]) or 1)

    def pass_long_time(self, dice: Dice) -> Said:
        return self._pass(dice.pick([90, 700, 3600, 8 * 86_400]) or 90)

    def _pass(self, seconds: int) -> str:
        self._cluster.clock.advance(seconds)
        return f"{seconds} s"


def _is_applying(process: SlotProcess) -> bool:
    lease = process.worker.lease
    return lease is not None and lease.hold.phase is Phase.APPLY
