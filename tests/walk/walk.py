"""A seeded random walk: which process goes on next, or what else happens."""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from iacq import messages
from iacq.services import dispatching, freezing, recovering, warming
from tests.walk import people as asking
from tests.walk.actors import Actor, StageClock
from tests.walk.cluster import Cluster
from tests.walk.database import StageDatabase
from tests.walk.dice import Dice
from tests.walk.faults import DONE, Said, World
from tests.walk.machines import ControlProcess
from tests.walk.people import People
from tests.walk.product import REAL, Product
from tests.walk.settling import Settling
from tests.walk.watcher import Watcher

MOST_ACTORS = 9
"""Things that are under way at once; those that are come first."""
LONGEST = 3_000
"""Pauses of one actor on its way to its end."""
SETTLE_EVERY = 500
SHOWN = 60
REST = "come to rest"

Decision = tuple[str, int]
"""One step: what it is, and the number that its choices depend on."""
Action = Callable[[Dice], Said | Actor]
_PAUSES_OF_AN_APPLY = 20
_LUCK = (0.3, 1.0, 1.0, 3.0)
"""Each seed has more of some things and less of others: what needs much of one thing is found sooner."""


class Broken(AssertionError):  # noqa: N818 - it says what happened
    """Something must not be. `decisions`: those that led to it."""

    def __init__(self, wrong: list[str], decisions: list[Decision], trace: list[str]) -> None:
        super().__init__("; ".join(wrong) + "\n" + "\n".join(trace[-SHOWN:]))
        self.wrong, self.decisions, self.trace = wrong, decisions, trace

    @property
    def unforeseen(self) -> bool:
        """Tell whether it is only an error that nobody foresaw."""
        return all(what.startswith("unforeseen") for what in self.wrong)


class Walk:
    """One history, from an empty database."""

    def __init__(
        self,
        database: StageDatabase,
        clock: StageClock,
        root: Path,
        seed: int,
        product: Product = REAL,
        favoured: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """database: with `clock` as its clock. favoured: things that happen so many times as often as usual."""
        self.seed = seed
        self.trace: list[str] = []
        self.decisions: list[Decision] = []
        self.cluster = Cluster(database, clock, root, seed=seed, managed=seed % 4 >= 2, product=product)
        self.stage = clock.stage
        self._world = World(self.cluster)
        self._people = People(self.cluster, quiet=seed % 2 == 0)
        self._watcher = Watcher(self.cluster)
        self._last: Actor | None = None
        self._rng = random.Random(seed)
        self._actions = self._all()
        database.look = self._watcher.look
        lucky = self._rng.choices(_LUCK, k=len(self._actions))
        self._weights = [
            weight * (1.0 if name == "go on" else favoured.get(name) or luck)
            for (name, (weight, _)), luck in zip(self._actions.items(), lucky, strict=True)
        ]

    # ---------------------------------------------------------------- running

    def run(self, steps: int) -> None:
        """Take that many steps; now and then, and at the end, everything comes to rest. Raises Broken."""
        names = list(self._actions)
        self.take((REST, 0))  # what is there by itself begins
        while len(self.decisions) < steps:
            if len(self.decisions) % SETTLE_EVERY == SETTLE_EVERY - 1:
                self.take((REST, 0))
            self.take((self._rng.choices(names, self._weights)[0], self._rng.getrandbits(32)))
        self.take((REST, 0))

    def replay(self, decisions: Iterable[Decision]) -> None:
        """Take these steps, as far as there is something to take them with. Raises Broken."""
        for decision in decisions:
            self.take(decision)

    def take(self, decision: Decision) -> None:
        """Take one step; it does not count if there is nothing to take it with. Raises Broken."""
        name, number = decision
        at = len(self.trace)
        if name == REST:
            Settling(self).run()
            said: Said | Actor = DONE
        else:
            said = self._actions[name][1](Dice(number))
        if said is None:
            return
        self.decisions.append(decision)
        if isinstance(said, Actor):
            self._last = said
            said = said.name
        if name != "go on":
            self.trace.insert(at, f"{name}: {said}")
        self.check()

    def check(self) -> None:
        """Raise Broken if something was seen that must not be."""
        if self.cluster.wrong:
            raise Broken(list(self.cluster.wrong), list(self.decisions), list(self.trace))

    def go_on(self, actor: Actor) -> None:
        """Let an actor act until it pauses again, and note what it did."""
        where, fault = actor.at, f" ({actor.fault.value})" if actor.fault else ""
        self.stage.go_on(actor)
        line = f"  {actor.name}: {where}{fault}"
        if actor.ended:
            line += f" → {asking.describe(actor)}"
            refused = actor.refused
            if actor.unforeseen is not None or (refused is not None and refused.code == "system"):
                self.cluster.wrong.append(f"unforeseen: {actor.unforeseen or refused!r} in {actor.name}")
        self.trace.append(line)

    def through(self, actor: Actor | None) -> None:
        """Let an actor act to its end, while all others are paused. Raises Broken if it never gets there."""
        for _ in range(LONGEST):
            if actor is None or actor.ended:
                return
            self.go_on(actor)
            self.check()
        self.cluster.wrong.append(f"{actor.name if actor else ''} never ends")

    # ---------------------------------------------------------------- what may happen

    def _all(self) -> dict[str, tuple[float, Action]]:
        world, people = self._world, self._people
        jobs = {name: (weight, self._begin(name)) for name, (weight, _) in JOBS.items()}
        asked: dict[str, tuple[float, Action]] = {
            "enqueue": (6, people.enqueue),
            "confirm": (14, people.confirm),
            "discard": (0.3, people.discard),
            "cancel": (1, people.cancel),
            "resolve": (2, people.resolve),
            "retry": (0.5, people.retry),
            "give up a reservation": (2, people.give_up),
            "lock": (0.3, people.lock),
            "unlock": (2, people.unlock),
            "freeze": (0.4, people.freeze),
            "lift": (1.5, people.lift),
            "drain a pod": (0.5, people.drain_pod),
            "delete a pod": (0.4, people.delete_pod),
            "roll a pool": (0.2, people.roll),
        }
        return {
            "go on": (130, self._go_on),
            **jobs,
            **{name: (weight, self._if_room(action)) for name, (weight, action) in asked.items()},
            "deliver": (25, self._if_room(world.deliver)),
            "plan in one go": (5, self._plan_in_one_go),
            "begin an apply": (7, self._begin_apply),
            "lose a message": (0.7, world.lose_message),
            "double a message": (3, world.double_message),
            "time passes": (1.5, world.pass_time),
            "a long time passes": (0.3, world.pass_long_time),
            "leases run out": (0.8, self._outlast_leases),
            "an agent beats": (2, lambda dice: self._of_pod(dice, self.cluster.beat)),
            "a pod cleans": (1, lambda dice: self._of_pod(dice, self.cluster.clean)),
            "a slot renews": (2, self._renew),
            "a slot looks": (5, self._settle_slot),
            "a slot begins anew": (6, self._respawn),
            "pods move": (7, world.move_pods),
            "a pod leaves": (3, world.leave),
            "the database fails": (0.4, world.fail_database),
            "an answer is lost": (0.5, world.lose_answer),
            "kill a slot's process": (1.2, world.kill_process),
            "kill a keeper": (0.4, world.kill_keeper),
            "kill a control worker": (0.7, world.kill_control),
            "kill a client": (0.5, world.kill_asker),
            "kill a pod": (0.4, world.kill_pod),
            "a machine crashes": (0.5, world.crash),
            "a node is lost": (0.4, world.lose_node),
            "a terraform vanishes": (0.4, world.lose_terraform),
            "an orphan ends": (2, world.end_orphan),
            "a pod falls silent": (0.4, world.silence),
            "a pod is heard again": (1.5, world.hear),
            "a pod is stopped": (0.3, world.stop_pod),
            "a grace is over": (0.7, world.end_grace),
        }

    def _go_on(self, dice: Dice) -> Said | Actor:
        last = self._last
        actor = last if last in self.stage.actors and dice.chance(0.85, "same") else dice.pick(self.stage.actors)
        if actor is not None:
            self.go_on(actor)
        return actor

    def _plan_in_one_go(self, dice: Dice) -> Said:
        """Nothing else happens until a run was planned: it is what follows that is of interest."""
        enqueued = self._people.enqueue(dice)
        self.through(enqueued)
        self.through(self.job(self.cluster.controls[0], "dispatch"))
        for rung in self._world.take_messages(messages.PLAN):
            self.through(self.cluster.deliver(rung))
        return enqueued.name if enqueued else DONE

    def _begin_apply(self, dice: Dice) -> Said | Actor:
        """Nothing else happens from a confirmation to somewhere in the apply."""
        confirmed = self._people.confirm(dice)
        self.through(confirmed)
        self.through(self.job(self.cluster.controls[0], "dispatch"))
        applying = None
        for rung in self._world.take_messages(messages.APPLY):
            applying = self.cluster.deliver(rung) or applying
        for _ in range(int(dice.luck("how far") * _PAUSES_OF_AN_APPLY)):
            if applying is not None and not applying.ended:
                self.go_on(applying)
                self.check()
        return applying or (confirmed.name if confirmed else DONE)

    def _if_room(self, action: Action) -> Action:
        return lambda dice: action(dice) if len(self.stage.actors) < MOST_ACTORS else None

    def _begin(self, job: str) -> Action:
        def begin(dice: Dice) -> Actor | None:
            if len(self.stage.actors) >= MOST_ACTORS or (job == RECONCILE and not self.cluster.managed):
                return None
            control = dice.pick(self.cluster.controls)
            return self.job(control, job) if control else None

        return begin

    def job(self, control: ControlProcess, job: str) -> Actor:
        """Begin a job of a control worker, unless it is doing it already."""
        name = f"{control.name}: {job}"
        doing = next((actor for actor in self.stage.of(control) if actor.name == name), None)
        return doing or self.cluster.start(name, control, lambda: JOBS[job][1](self.cluster, control))

    def _of_pod(self, dice: Dice, what: Callable[..., Actor | None]) -> Actor | None:
        pod = dice.pick(self.cluster.pods)
        return what(pod) if pod is not None and len(self.stage.actors) < MOST_ACTORS else None

    def _renew(self, dice: Dice) -> Actor | None:
        process = dice.pick(process for process in self.cluster.processes() if process.worker.lease is not None)
        return self.cluster.renew(process) if process else None

    def _settle_slot(self, dice: Dice) -> Actor | None:
        process = dice.pick(
            process
            for process in self.cluster.processes()
            if process.worker.stop_at is None and not self.stage.of(process)
        )
        return self.cluster.settle(process) if process else None

    def _respawn(self, dice: Dice) -> Said | Actor:
        begun: Said | Actor = None
        for pod in self.cluster.pods:
            for slot_id, seat in pod.seats.items():
                if seat.process is not None and seat.process.keeper.gone and not self.stage.of(seat.process):
                    self.cluster.kill_process(seat)  # it ends by itself, to get a new keeper
                    begun = begun or DONE
                if seat.process is None and pod.registration is not None and not pod.stopping:
                    self.cluster.respawn(pod, slot_id)
                    begun = self.cluster.settle(seat.process) if seat.process else begun
        return begun

    def _outlast_leases(self, _dice: Dice) -> Said:
        """Whoever does not renew for that long has lost its run: paused, cut off, or dead."""
        settings = self.cluster.core.settings
        for wait in (settings.lease, settings.lease_confirm):
            self.cluster.clock.advance(wait + 1)
            for pod in self.cluster.pods:
                self.through(self.cluster.beat(pod))
            for control in self.cluster.controls:
                self.through(self.job(control, "recover"))
        return DONE


RECONCILE = "reconcile pods"
JOBS: dict[str, tuple[float, Callable[[Cluster, ControlProcess], object]]] = {
    "dispatch": (9, lambda cluster, _: dispatching.dispatch(cluster.core)),
    "resend": (1.5, lambda cluster, _: dispatching.resend(cluster.core)),
    "recover": (2, lambda cluster, control: recovering.recover(cluster.core, control.watch)),
    "check agents": (1.5, lambda cluster, _: recovering.check_agents(cluster.core)),
    "expire plans": (0.5, lambda cluster, _: recovering.expire_plans(cluster.core)),
    "begin warm-ups": (4, lambda cluster, _: warming.begin(cluster.core)),
    "expire warm-ups": (1.5, lambda cluster, _: warming.expire(cluster.core)),
    "apply freeze windows": (1.5, lambda cluster, _: freezing.apply_windows(cluster.core)),
    RECONCILE: (5, lambda cluster, _: cluster.manager.reconcile_pods()),
}
"""What beat asks control workers for, and how often."""


class _Errors(logging.Handler):
    """Notes what the product did not foresee and went on after."""

    def __init__(self, wrong: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._wrong = wrong

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._wrong.append(f"unforeseen: {record.getMessage()} {error!r}")


class Arena:
    """A database in which one walk after the other takes place. A context manager."""

    def __init__(self, url: str, root: Path) -> None:
        """url: of a migrated database; root: a directory of their own."""
        self._clock = StageClock()
        self._database = StageDatabase(url, clock=self._clock)
        self._root = root
        self._walks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.stage.close()
        self._database.close()

    @contextlib.contextmanager
    def walk(
        self, seed: int, product: Product = REAL, favoured: Mapping[str, float] = MappingProxyType({})
    ) -> Iterator[Walk]:
        """Give a walk that begins with nothing. favoured: see Walk."""
        self._walks += 1
        root = self._root / str(self._walks)
        self._database.clear()
        self._database.replaced = product.steps
        walk = Walk(self._database, self._clock, root, seed, product, favoured)
        handler = _Errors(walk.cluster.wrong)
        logging.getLogger("iacq").addHandler(handler)
        try:
            yield walk
        finally:
            logging.getLogger("iacq").removeHandler(handler)
            walk.stage.close()
            shutil.rmtree(root, ignore_errors=True)
