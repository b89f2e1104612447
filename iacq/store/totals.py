"""Totals over all runs that there ever were: kept, since counting them anew at each look would take ever longer.

They are filled by control workers after the fact: no step of a run waits for it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection

import sqlalchemy as sa

from iacq.domain import tally, transitions
from iacq.domain.run import Status
from iacq.domain.tally import Totals, Untallied
from iacq.store.schema import events, is_in, runs, totals
from iacq.store.session import Transaction

UNTALLIED = (
    f"(tallied = {tally.NOTHING} AND NOT {is_in('status', tally.PLANNING)}"
    f" OR tallied = {tally.PLAN} AND {is_in('status', transitions.ENDED)})"
)
"""Runs of which something is not in the totals yet: the condition of their index, word for word."""

_COLUMNS = ("id", "tallied", "status", "task_type", "pool", "start_tier", "timings")
_FIND = (
    sa.select(*(runs.c[name] for name in _COLUMNS))
    .where(sa.text(f"fence IS NOT NULL AND {UNTALLIED}"))
    .order_by(runs.c.id)
    .with_for_update(skip_locked=True)  # whoever works on a run does not wait for us, nor we for them
)

_AMOUNT: sa.BindParameter[float] = sa.bindparam("amount", type_=sa.Float)
_INSERT = totals.insert().values(metric=sa.bindparam("at_metric"), labels=sa.bindparam("at_labels"), value=_AMOUNT)
_UPDATE = (
    totals.update()
    .where(totals.c.metric == sa.bindparam("at_metric"), totals.c.labels == sa.bindparam("at_labels"))
    .values(value=totals.c.value + _AMOUNT)
)


def fill(tx: Transaction, *, limit: int) -> int:
    """Count up to `limit` runs of which something was not counted; returns how many.

    A run is marked in the transaction that counts it, so that it is counted once, whoever else does the same.
    """
    added: Totals = Counter()
    marks: dict[int, list[int]] = defaultdict(list)
    rows = tx.execute(_FIND.limit(limit)).all()
    for row in rows:
        run = Untallied(
            tallied=row.tallied,
            status=Status(row.status),
            run_type=row.task_type,
            pool=row.pool,
            start_tier=row.start_tier,
            timings=row.timings,
        )
        added.update(tally.count(run))
        marks[tally.tallied_after(run)].append(row.id)
    for mark, ids in marks.items():
        tx.execute(runs.update().where(runs.c.id.in_(ids)).values(tallied=mark))
    add(tx, added)
    return len(rows)


def add(tx: Transaction, added: Totals) -> None:
    """Add to totals. Always in the same order, so that two who add do not wait for each other."""
    known = {(row.metric, row.labels) for row in tx.execute(sa.select(totals.c.metric, totals.c.labels))}
    rows = [
        {"at_metric": metric, "at_labels": json.dumps(labels), "amount": amount}
        for (metric, labels), amount in sorted(added.items())
    ]
    new = [row for row in rows if (row["at_metric"], row["at_labels"]) not in known]
    if new:
        tx.execute(_INSERT, new)
    if len(new) < len(rows):
        tx.execute(_UPDATE, [row for row in rows if row not in new])


def read(tx: Transaction, metric: str) -> dict[tuple[str, ...], float]:
    """Return the totals of one metric, by the values of its labels."""
    rows = tx.execute(sa.select(totals.c.labels, totals.c.value).where(totals.c.metric == metric))
    return {tuple(json.loads(row.labels)): row.value for row in rows}


_SETBACKS = sa.union_all(
    sa.select(events.c.cause, sa.cast(sa.func.count(), sa.Float).label("number"))
    .where(sa.text(is_in("cause", transitions.SETBACKS)))
    .group_by(events.c.cause),
    sa.select(totals.c.labels, totals.c.value).where(totals.c.metric == tally.SETBACKS),
)


def setbacks(tx: Transaction) -> Counter[str]:
    """Count the events of each cause that a healthy system has few of, those of removed runs among them.

    In one statement: else an event that is moved to the totals meanwhile is seen twice, or not at all.
    """
    found: Counter[str] = Counter()
    for row in tx.execute(_SETBACKS):
        found[json.loads(row.cause)[0] if row.cause.startswith("[") else row.cause] += round(row.number)
    return found


def keep_setbacks(tx: Transaction, run_ids: Collection[int]) -> None:
    """Move what `setbacks` counts of runs that are removed in this transaction to the totals."""
    rows = tx.execute(
        sa.select(events.c.cause, sa.func.count().label("number"))
        .where(events.c.run_id.in_(run_ids), events.c.cause.in_(sorted(transitions.SETBACKS)))
        .group_by(events.c.cause)
    )
    add(tx, Counter({(tally.SETBACKS, (row.cause,)): row.number for row in rows}))
