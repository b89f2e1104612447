"""Remove what belongs to runs that ended long ago, a bounded number at a time. Ages are in milliseconds.

What lies in the artifact store is removed before the rows that name it: whoever is interrupted in between does it
again, and nothing is left that no row names.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from iacq.domain import tally, transitions
from iacq.store import totals
from iacq.store.schema import artifacts, is_in, logs, metadata, runs, slots, states
from iacq.store.session import Transaction

EARLY = ("source", "plan", "snapshot", "lock")
"""Artifacts that only a run needs that goes on: the large ones. The others explain what it did."""

_BELONGING = [
    table
    for table in metadata.sorted_tables
    if table is not slots and any(key.column.table is runs for key in table.foreign_keys)
]
"""Tables whose rows belong to one run. (A slot is held by one: that run is not removed.)"""


def _ended(tx: Transaction, older_than_ms: int) -> sa.Select[tuple[int]]:
    before = sa.select(tx.now - older_than_ms).scalar_subquery()  # else PostgreSQL asks its clock for each ended run
    return (
        sa.select(runs.c.id)
        .where(
            sa.text(f"fence IS NOT NULL AND {is_in('status', transitions.ENDED)}"),  # as the index has it
            runs.c.completed_ms < before,
        )
        .order_by(runs.c.completed_ms)
    )


def ended(tx: Transaction, *, older_than_ms: int, limit: int) -> list[int]:
    """Return runs that ended so long ago, the oldest first: counted in all totals, and held by no slot."""
    removable = _ended(tx, older_than_ms).where(
        runs.c.tallied == tally.ALL, ~sa.exists().where(slots.c.run_id == runs.c.id)
    )
    return list(tx.execute(removable.limit(limit)).scalars())


def remove_runs(tx: Transaction, run_ids: Collection[int]) -> int:
    """Remove ended runs with all that belongs to them; returns how many. What metrics count of them stays."""
    present = list(tx.execute(sa.select(runs.c.id).where(runs.c.id.in_(run_ids)).with_for_update()).scalars())
    totals.keep_setbacks(tx, present)
    for table in _BELONGING:
        tx.execute(table.delete().where(table.c.run_id.in_(present)))
    return tx.execute(runs.delete().where(runs.c.id.in_(present))).rowcount


def with_early_artifacts(tx: Transaction, *, older_than_ms: int, limit: int) -> list[int]:
    """Return runs that ended so long ago and still have artifacts that only a run needs that goes on."""
    found = sa.exists().where(artifacts.c.run_id == runs.c.id, artifacts.c.kind.in_(EARLY))
    return list(tx.execute(_ended(tx, older_than_ms).where(found).limit(limit)).scalars())


def lasting_keys(tx: Transaction, run_id: int) -> set[str]:
    """Return the keys of those artifacts of a run that are kept as long as the run."""
    wanted = sa.select(artifacts.c.key).where(artifacts.c.run_id == run_id, artifacts.c.kind.not_in(EARLY))
    return set(tx.execute(wanted).scalars())


def forget_early_artifacts(tx: Transaction, run_ids: Collection[int]) -> int:
    """Forget the artifacts that were removed; returns how many."""
    gone = artifacts.delete().where(artifacts.c.run_id.in_(run_ids), artifacts.c.kind.in_(EARLY))
    return tx.execute(gone).rowcount


def remove_logs(tx: Transaction, *, older_than_ms: int, limit: int) -> int:
    """Remove the logs of up to `limit` runs that ended so long ago; returns of how many."""
    found = sa.exists().where(logs.c.run_id == runs.c.id)
    run_ids = list(tx.execute(_ended(tx, older_than_ms).where(found).limit(limit)).scalars())
    tx.execute(logs.delete().where(logs.c.run_id.in_(run_ids)))
    return len(run_ids)


def remove_states(tx: Transaction, *, keep: int, limit: int) -> int:
    """Remove up to `limit` versions of managed states, all but the newest `keep` of each; returns how many.

    keep: at least 1, so that the present state is never touched.
    """
    last = sa.func.max(states.c.version) - max(keep, 1)
    long = (
        sa.select(states.c.workspace_id, last.label("last"))
        .group_by(states.c.workspace_id)
        .having(sa.func.min(states.c.version) <= last)
        .subquery()
    )
    old = sa.select(states.c.workspace_id, states.c.version).join(
        long, sa.and_(states.c.workspace_id == long.c.workspace_id, states.c.version <= long.c.last)
    )
    key = sa.tuple_(states.c.workspace_id, states.c.version)
    return tx.execute(states.delete().where(key.in_(old.limit(limit)))).rowcount
