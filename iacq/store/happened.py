"""What happened to runs, in the order in which it was written: to be followed without looking at every run."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from iacq.store import runs as run_rows
from iacq.store.runs import Event
from iacq.store.schema import events, runs
from iacq.store.session import Transaction


@dataclass(frozen=True, kw_only=True)
class Happened:
    """One change of a run's state, and where the run is now."""

    id: int  # of the event; a later one may be committed before an earlier one
    run: int
    workspace: str
    queue: str | None  # of the slot that the run is queued for or runs in now
    event: Event


_SINCE = (
    sa.select(events, runs.c.workspace_id, runs.c.queue)
    .join(runs, runs.c.id == events.c.run_id)
    .where(events.c.id > sa.bindparam("after"))
    .order_by(events.c.id)
)
_LATEST = sa.select(sa.func.coalesce(sa.func.max(events.c.id), 0))


def latest(tx: Transaction) -> int:
    """Return the number of the last event; 0: there is none."""
    return int(tx.execute(_LATEST).scalar_one())


def since(tx: Transaction, after: int) -> list[Happened]:
    """Return all events with a greater number, by number."""
    return [
        Happened(
            id=row.id,
            run=row.run_id,
            workspace=row.workspace_id,
            queue=row.queue,
            event=run_rows.to_event(row),
        )
        for row in tx.execute(_SINCE, {"after": after})
    ]
