"""The product with one rule of its protocol left out: what the walk must find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from iacq.domain.run import Phase, Run, Status
from iacq.domain.slot import Place
from iacq.domain.transitions import Cause
from iacq.messages import Doorbell
from iacq.services.phases import runner
from iacq.store import outbox, runs, slots
from iacq.store.protocol import owning, recovering
from iacq.store.session import Database, Transaction
from iacq.store.statement import After, Plus

P = ParamSpec("P")
T = TypeVar("T")
Replaced = Mapping[Callable[..., Any], Callable[..., Any]]


class VariantDatabase(Database):
    """A database that runs another step where the product asks for one of those that are replaced."""

    def __init__(self, url: str, *, clock: Callable[[], int], replaced: Replaced) -> None:
        super().__init__(url, clock=clock)
        self._replaced = replaced

    def attempt(self, step: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        return super().attempt(self._replaced.get(step, step), *args, **kwargs)

    def run(self, step: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = super().run(self._replaced.get(step, step), *args, **kwargs)
        return found


def claim_whatever_the_attempt(
    tx: Transaction, run_id: int, phase: Phase, attempt: int, place: Place, *, lease_ms: int
) -> tuple[Run, None]:
    """A message of another attempt is taken for the present one, and neither queue nor slot are looked at."""
    del attempt
    return _claim(tx, run_id, phase, {}, place, lease_ms), None


def claim_in_a_freeze(
    tx: Transaction, run_id: int, phase: Phase, attempt: int, place: Place, *, lease_ms: int
) -> tuple[Run, None]:
    """Only whoever dispatches asks whether the pool is frozen."""
    seen = {"attempt": attempt, "queue": place.queue, "cancel_requested_ms": None}
    run = _claim(tx, run_id, phase, seen, place, lease_ms)
    slots.confirm_hold(tx, run_id, place)
    return run, None


def _claim(tx: Transaction, run_id: int, phase: Phase, seen: Mapping[str, Any], place: Place, lease_ms: int) -> Run:
    run = runs.transition(
        tx,
        run_id,
        Cause.CLAIMED,
        owning.QUEUED_FOR[phase],
        owning.RUNNING_IN[phase],
        seen,
        fence=Plus(1),
        tries=Plus(1),
        owner=place.owner,
        lease_until=After(lease_ms),
        agent_id=place.agent_id,
        pod_name=place.pod_name,
        slot_id=place.slot_id,
        queue=place.queue,
        freeze_requested_ms=None,
    )
    outbox.remove(tx, run_id)
    return run


def lose_lease_and_forget_effects(tx: Transaction, seen: Run) -> Run:
    """Whatever terraform may have done, the apply is started again."""
    run = runs.change(tx, seen.id, {"status": seen.status, "fence": seen.fence})
    return owning.way_back(tx, run, Cause.LEASE_LOST)


def lose_lease_and_keep_the_owner(tx: Transaction, seen: Run) -> Run:
    """The fence stays, and so does the owner: whoever was paused goes on as if nothing had been."""
    target = {Status.PLANNING: Status.PENDING, Status.APPLYING: Status.CONFIRMED}[seen.status]
    run = runs.transition(tx, seen.id, Cause.LEASE_LOST, seen.status, target, {"fence": seen.fence})
    slots.release(tx, run.id)
    return run


def send_and_forget(tx: Transaction) -> list[Doorbell]:
    """A bell that was rung again is taken for answered."""
    bells = outbox.take_due(tx)
    for bell in bells:
        outbox.remove(tx, bell.run_id)
    return bells


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One rule that is left out."""

    replaced: Replaced
    favoured: Mapping[str, int]  # things that happen this many times as often: those that the rule is there for


VARIANTS: dict[str, Variant] = {
    "a claim looks at neither attempt nor slot": Variant(
        replaced={runner.claim: claim_whatever_the_attempt},
        favoured={
            "double a message": 8,
            "a pod falls silent": 12,
            "check agents": 10,
            "time passes": 4,
            "dispatch": 2,
        },
    ),
    "a claim asks nobody about a freeze": Variant(
        replaced={runner.claim: claim_in_a_freeze}, favoured={"freeze": 4, "deliver": 2}
    ),
    "a lost lease forgets effects": Variant(
        replaced={recovering.lose_lease: lose_lease_and_forget_effects},
        favoured={"leases run out": 4, "it is paused past its lease": 10, "confirm": 3},
    ),
    "a lost lease keeps its owner": Variant(
        replaced={recovering.lose_lease: lose_lease_and_keep_the_owner}, favoured={"leases run out": 4}
    ),
    "the outbox forgets at sending": Variant(
        replaced={outbox.take_due: send_and_forget}, favoured={"lose a message": 6, "resend": 4}
    ),
}
