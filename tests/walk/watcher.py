"""What is looked at after every single commit: the rows, what changed in them, and what is alive beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from iacq.domain import transitions
from iacq.domain.run import Run, Status
from iacq.domain.slot import GOING, Pod, Slot
from iacq.domain.transitions import Cause
from iacq.store import pods, runs, slots
from iacq.store.schema import pools
from iacq.store.schema import runs as table
from iacq.store.session import Transaction
from tests import invariants
from tests.walk.cluster import POOL, Cluster

_SPARED = "the pool needs fewer pods"
"""Why the scaler drains a pod."""
_TAKEN = transitions.SETBACKS - {Cause.SLOT_LOST} | {Cause.ADOPTED, Cause.FROZEN}
"""A claim ends, or begins, without a word of who had it."""
_STARTED = frozenset({Cause.DISPATCHED, Cause.CLAIMED})
_COUNTED = frozenset({Cause.LEASE_LOST, Cause.POD_GONE, Cause.NOT_STARTED, Cause.END_UNKNOWN, Cause.PLAN_KILLED})
_FROZEN = sa.select(pools.c.frozen_ms).where(pools.c.name == POOL)
_LIVING = sa.select(*runs.COLUMNS).where(
    sa.or_(table.c.status.not_in(sorted(transitions.ENDED)), table.c.completed_ms >= sa.bindparam("since"))
)
"""Runs that have not ended, or only since the last look: the others do not change any more."""
_FORCED_CANCEL = "force"


@dataclass(frozen=True)
class Rows:
    """All that the database says at one moment."""

    runs: dict[int, Run]
    slots: list[Slot]
    pods: dict[str, Pod]
    frozen_since: int | None
    steps: list[invariants.Recorded]  # since the last look


class Watcher:
    """Compares each moment with the one before."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._before = Rows({}, [], {}, None, [])
        self._reached = 0  # the last recorded step that was looked at
        self._since = 0  # when that was
        self._last: dict[int, Status] = {}  # by run: where its recorded steps led
        self._setbacks: Counter[int] = Counter()  # by run, in its present phase

    def look(self) -> None:
        """Note in the cluster what is wrong."""
        database = self._cluster.database
        with database.aside():
            rows, wrong = database.read(self._read)
            wrong += [*self._recorded(rows), *self._changed(rows), *self._pods(rows), *self._alive(rows)]
        self._before = rows
        self._cluster.wrong += wrong

    def _read(self, tx: Transaction) -> tuple[Rows, list[str]]:
        now = self._cluster.clock.now_ms()
        every = [runs.to_run(row) for row in tx.execute(_LIVING, {"since": self._since})]
        present, steps = slots.listed(tx), invariants.recorded(tx, after=self._reached)
        self._since = now
        rows = Rows(
            runs={run.id: run for run in every},
            slots=present,
            pods={pod.name: pod for pod in pods.listed(tx)} if self._cluster.managed else {},
            frozen_since=tx.execute(_FROZEN).scalar(),
            steps=steps,
        )
        return rows, invariants.broken_among(tx, every, present)

    def _recorded(self, rows: Rows) -> Iterator[str]:
        """Check the recorded steps, and that each change of a status is one of them."""
        yield from invariants.undefined(rows.steps, self._last)
        for step in rows.steps:
            self._reached = max(self._reached, step.id)
            self._last[step.run_id] = step.target
            if step.cause in _COUNTED:
                self._setbacks[step.run_id] += 1
            frozen = rows.frozen_since is not None and rows.frozen_since == self._before.frozen_since
            if frozen and step.cause in _STARTED:
                yield f"run {step.run_id} was {step.cause} in a frozen pool"
            yield from self._true_outcome(step)
            if step.cause in (Cause.CONFIRMED, Cause.AUTO_APPLIED):
                self._setbacks[step.run_id] = 0
        for run in rows.runs.values():
            if self._last.get(run.id, run.status) is not run.status:
                yield f"run {run.id} is {run.status}, and its last recorded step led to {self._last[run.id]}"

    def _true_outcome(self, step: invariants.Recorded) -> Iterator[str]:
        if step.cause not in (Cause.FINISHED, Cause.LATE_REPORT) or not self._cluster.starts[step.run_id]:
            return
        codes = {
            code
            for pod in self._cluster.every_pod()
            for seat in pod.seats.values()
            for (run_id, _), code in seat.machine.ends.items()
            if run_id == step.run_id
        }
        if (0 in codes) != (step.target is Status.APPLIED):
            yield f"run {step.run_id} is {step.target}, and its terraform apply ended with {sorted(codes)}"

    def _changed(self, rows: Rows) -> Iterator[str]:
        causes = {step.run_id: step.cause for step in rows.steps}
        for run in rows.runs.values():
            before = self._before.runs.get(run.id)
            if before is None or before == run:
                continue
            if run.fence < before.fence:
                yield f"the fence of run {run.id} went from {before.fence} back to {run.fence}"
            if causes.get(run.id) in _TAKEN and before.owner is not None and run.fence <= before.fence:
                yield f"run {run.id} was taken from {before.owner} ({causes[run.id]}), whose fence is still good"
            yield from self._judged(run, before, causes.get(run.id))
            asked = before.cancel_requested_at is None and run.cancel_requested_at is not None
            if asked and before.effects_at is not None and not self._is_forced():
                yield f"run {run.id} is to be cancelled, without force, while terraform may apply it"
            if run.error_code == "tries_used_up" != before.error_code:
                most = transitions.MAX_TRIES[transitions.PHASE_OF[before.status]]
                if self._setbacks[run.id] < most:
                    yield f"run {run.id} failed after {self._setbacks[run.id]} of {most} tries"
            if self._cluster.starts[run.id] and run.status in (Status.CONFIRMED, Status.APPLY_QUEUED):
                yield f"run {run.id} is {run.status} although its terraform apply was started"

    def _judged(self, run: Run, before: Run, cause: Cause | None) -> Iterator[str]:
        """A lease is lost once it was seen expired for some time."""
        since = (self._cluster.clock.now_ms() - (before.lease_until or 0)) / 1000
        if cause is Cause.LEASE_LOST and since < self._cluster.core.settings.lease_confirm:
            yield f"run {run.id} was taken from {before.owner} {since:g} s after its lease ended"

    def _is_forced(self) -> bool:
        actor = self._cluster.stage.current
        return actor is not None and _FORCED_CANCEL in actor.name

    def _pods(self, rows: Rows) -> Iterator[str]:
        held = {slot.pod_name for slot in rows.slots if slot.run_id is not None}
        for pod in rows.pods.values():
            before = self._before.pods.get(pod.name)
            went = before is not None and before.status not in GOING and pod.status in GOING
            if went and pod.name in held and pod.reason == _SPARED:
                kept = [f"{slot.status} for run {slot.run_id}" for slot in rows.slots if slot.pod_name == pod.name]
                yield f"pod {pod.name} is scaled away, and its slots are {', '.join(kept)}"
        working = {run.pod_name for run in rows.runs.values() if run.status in transitions.RUNNING}
        for name in self._before.pods.keys() - rows.pods.keys():
            if name in working:
                yield f"the row of pod {name} is gone, and a run works there"

    def _alive(self, rows: Rows) -> Iterator[str]:
        """Check every terraform that applies: its run says so, and nobody else is given its slot."""
        applying: Counter[str] = Counter()
        at = {(slot.pod_name, slot.slot_id): slot for slot in rows.slots}
        for pod in self._cluster.pods:
            for slot_id, job in pod.applies():
                run = rows.runs.get(job.run_id)
                if run is None:
                    yield f"run {job.run_id} ended long ago, and its terraform applies"
                    continue
                applying[run.workspace] += 1
                if run.status not in (Status.APPLYING, Status.APPLY_INTERRUPTED) or run.effects_fence != job.fence:
                    yield f"run {run.id} is {run.status} while its terraform applies"
                slot = at.get((pod.name, slot_id))
                offered = slot is not None and slot.closed is None and slot.run_id != run.id
                if slot is not None and (offered or slot.run_id not in (None, run.id)):
                    whose = "free" if slot.run_id is None else f"given to run {slot.run_id}"
                    yield f"slot {slot.queue} is {whose} while terraform applies run {run.id} in it"
        yield from (f"{count} applies of {name} run at once" for name, count in applying.items() if count > 1)
