"""What people, services and the policy of a pool ask for, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from iacq.domain import transitions
from iacq.domain.run import Run, RunType, Status
from iacq.domain.slot import SlotStatus
from iacq.errors import IacqError
from iacq.services import confirming, enqueuing, freeze_changes, pod_orders, pools, retrying
from iacq.services.freeze_changes import Until
from iacq.store import runs, slots, workspaces
from iacq.store.protocol import waiting
from tests.walk.actors import Actor
from tests.walk.cluster import POOL, WORKSPACES, Cluster
from tests.walk.dice import Dice

UNENDED = set(Status) - transitions.ENDED
_OTHER_HASH = "0123456789ab"


class People:
    """Each method begins something, or returns None: there is nothing to ask for."""

    def __init__(self, cluster: Cluster, *, quiet: bool) -> None:
        """quiet: slots are free to warm up in, and people take their time."""
        self._cluster = cluster
        self._most = 3 if quiet else 8
        self._hesitates = 0.5 if quiet else 0.0

    def _runs(self, *statuses: Status) -> list[Run]:
        with self._cluster.database.aside():
            return self._cluster.core.database.read(runs.listed, statuses=statuses)

    def _ask(self, what: str, ask: Callable[[], Any]) -> Actor:
        return self._cluster.start(f"person: {what}", object(), ask)

    def enqueue(self, dice: Dice) -> Actor | None:
        if len(self._runs(*UNENDED)) >= self._most:
            return None
        kinds = [*((RunType.PLAN_AND_APPLY, n) for n in range(5)), (RunType.DESTROY, 0), (RunType.PLAN, 0)]
        run_type, _ = dice.pick([*kinds, (RunType.DRIFT, 0)], "type") or kinds[0]
        request = enqueuing.Request(
            workspace=dice.pick(WORKSPACES, "workspace") or WORKSPACES[0],
            run_type=run_type,
            by="alice" if dice.chance(0.5, "by") else "bob",
            priority=5 if dice.chance(0.2, "priority") else 0,
            auto_apply=dice.chance(0.4, "auto"),
            supersede=dice.chance(0.1, "supersede"),
        )
        what = f"enqueues {run_type} of {request.workspace}" + (" (auto)" if request.auto_apply else "")
        return self._ask(what, lambda: enqueuing.enqueue(self._cluster.core, request))

    def confirm(self, dice: Dice) -> Actor | None:
        run = dice.pick(self._runs(Status.APPLY_PENDING))
        if run is None or run.plan_hash is None or dice.chance(self._hesitates, "hesitates"):
            return None
        core, confirm, seen = self._cluster.core, self._cluster.product.confirm, run.plan_hash
        if dice.chance(0.9, "right"):
            return self._ask(f"confirms run {run.id}", lambda: confirm(core, run.id, plan_hash=seen, by="eve"))

        def confirm_another() -> None:
            confirm(core, run.id, plan_hash=_OTHER_HASH, by="eve")
            self._cluster.wrong.append(f"run {run.id} was confirmed by somebody who read another plan")

        return self._ask(f"confirms run {run.id} with the hash of another plan", confirm_another)

    def discard(self, dice: Dice) -> Actor | None:
        run = dice.pick(self._runs(Status.APPLY_PENDING))
        return run and self._ask(
            f"discards run {run.id}", lambda: confirming.discard(self._cluster.core, run.id, by="eve")
        )

    def cancel(self, dice: Dice) -> Actor | None:
        run = dice.pick(self._runs(*(UNENDED - {Status.PENDING})))
        if run is None:
            return None
        force = dice.chance(0.5, "force")
        what = f"cancels run {run.id}" + (" by force" if force else "")
        return self._ask(what, lambda: confirming.cancel(self._cluster.core, run.id, by="eve", force=force))

    def resolve(self, dice: Dice) -> Actor | None:
        run = dice.pick(self._runs(Status.APPLY_INTERRUPTED))
        if run is None:
            return None
        resolve = confirming.resolve
        return self._ask(
            f"resolves run {run.id}",
            lambda: resolve(self._cluster.core, run.id, applied=False, by="eve", comment="looked"),
        )

    def retry(self, dice: Dice) -> Actor | None:
        if len(self._runs(*UNENDED)) >= self._most:
            return None
        run = dice.pick(self._runs(*transitions.ENDED))
        return run and self._ask(f"retries run {run.id}", lambda: retrying.retry(self._cluster.core, run.id, by="eve"))

    def give_up(self, dice: Dice) -> Actor | None:
        """As a pool at its maximum does."""
        database = self._cluster.core.database
        with self._cluster.database.aside():
            kept = [slot for slot in database.read(slots.listed) if slot.status is SlotStatus.RESERVED]
            slot = dice.pick(kept)
            run = database.read(runs.get, slot.run_id or 0) if slot else None
        if slot is None or run is None:
            return None
        give_up = waiting.give_up_reservation
        return self._ask(f"{slot.queue} is given up", lambda: database.attempt(give_up, run, slot))

    def lock(self, dice: Dice) -> Actor | None:
        return self._lock(dice, locked=True)

    def unlock(self, dice: Dice) -> Actor | None:
        return self._lock(dice, locked=False)

    def _lock(self, dice: Dice, *, locked: bool) -> Actor | None:
        database = self._cluster.core.database
        name = dice.pick(WORKSPACES) or WORKSPACES[0]
        with self._cluster.database.aside():
            if locked is (database.read(workspaces.get, name).locked_at is not None):
                return None
        if locked:
            return self._ask(f"locks {name}", lambda: database.run(workspaces.lock, name, by="eve", reason="x"))
        return self._ask(f"unlocks {name}", lambda: database.run(workspaces.unlock, name))

    def freeze(self, dice: Dice) -> Actor | None:
        until = dice.pick([None, Until(text="20s"), Until(text="2h")])
        freeze = freeze_changes.freeze_now
        what = f"freezes {POOL}" + (f" for {until.text}" if until else "")
        return self._ask(what, lambda: freeze(self._cluster.core, POOL, until=until, reason="x", by="eve"))

    def lift(self, _dice: Dice) -> Actor | None:
        return self._ask(
            f"lifts the freeze of {POOL}",
            lambda: freeze_changes.lift(self._cluster.core, POOL, reason="x", by="eve"),
        )

    def drain_pod(self, dice: Dice) -> Actor | None:
        pod = dice.pick(self._cluster.pods)
        if pod is None or not pod.managed:
            return None
        return self._ask(
            f"drains pod {pod.name}", lambda: pod_orders.drain(self._cluster.core, pod.name, reason="eve said so")
        )

    def delete_pod(self, dice: Dice) -> Actor | None:
        pod, force = dice.pick(self._cluster.pods), dice.chance(0.4, "force")
        if pod is None or not pod.managed:
            return None

        def delete() -> None:
            if force:
                self._cluster.forced.add(pod.name)
            pod_orders.delete(self._cluster.core, pod.name, reason="eve said so", force=force)

        return self._ask(f"deletes pod {pod.name}" + (" by force" if force else ""), delete)

    def roll(self, _dice: Dice) -> Actor | None:
        if not self._cluster.managed:
            return None
        return self._ask(f"rolls {POOL}", lambda: pools.roll(self._cluster.core, POOL))


def describe(actor: Actor) -> str:
    """Say how something ended."""
    if actor.refused is not None:
        return f"refused: {actor.refused.message}"
    found = actor.result
    if isinstance(found, Run):
        return f"run {found.id} is {found.status}"
    return "done" if found is None or isinstance(found, IacqError) else str(found)[:80]
