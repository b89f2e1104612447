"""What could start now: plans, and the first state-changing run of each workspace that nothing holds.

However much waits, a look costs the same. A few hundred waiting runs are all read. Of more, it reads of each pool the
first ones of each kind, the next run of each workspace, and the first plan of each caller and workspace: the last two
by jumping through an index from one key to the next, so that neither ten thousand runs of one caller nor a thousand of
one workspace hide the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from iacq.domain import transitions, versions
from iacq.domain.queueing import Candidate
from iacq.domain.run import RunType, Status
from iacq.store import readable
from iacq.store.schema import is_in, runs, workspaces
from iacq.store.session import Transaction

ALL = 200
"""Up to so many waiting runs are all looked at."""
WINDOW = 50
"""Of more: so many of each kind, by priority, then oldest."""
JUMPS = 100
"""And the next runs of so many workspaces and callers; those behind them at the next look."""

CHANGING = tuple(kind for kind in RunType if kind.changes_state)
PLANS = tuple(kind for kind in RunType if not kind.changes_state)

COLUMNS = (
    runs.c.id,
    runs.c.workspace_id,
    runs.c.task_type,
    runs.c.status,
    runs.c.pool,
    runs.c.priority,
    runs.c.requested_by,
    runs.c.attempt,
    runs.c.needs_protocol,
)
"""What a candidate is made of."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """The last keys that a look jumped to: the next one goes on behind them. Empty: it begins again."""

    workspace: str = ""
    caller: tuple[str, str] = ("", "")  # and workspace


BEGINNING = Reached()


def to_candidate(row: sa.Row[Any]) -> Candidate:
    """Make a value of a row with `COLUMNS`."""
    if None in row:
        raise ValueError("a NULL where none may be")
    return Candidate(
        id=row.id,
        workspace=row.workspace_id,
        run_type=RunType(row.task_type),
        status=Status(row.status),
        pool=row.pool,
        priority=row.priority,
        requested_by=row.requested_by,
        attempt=row.attempt,
        needs_protocol=row.needs_protocol,
    )


def is_pending(of: str = "", *kinds: RunType) -> str:
    """Write the condition of pending runs (of these kinds), as indexes and questions say it. of: `alias.`.

    Without parameters: SQLite uses an index with a condition only for a question that says the same.
    """
    kind = f" AND {is_in(f'{of}task_type', kinds)}" if kinds else ""
    return f"{of}fence IS NOT NULL AND {of}status = '{Status.PENDING}'{kind}"


def is_unended(of: str = "") -> str:
    """Write the condition of runs that have not ended. of: `alias.`."""
    return f"{of}fence IS NOT NULL AND {is_in(f'{of}status', set(Status) - transitions.ENDED)}"


def waits(of: str = "") -> str:
    """Write the condition of pending runs of whatever pool: they are found by status among what has not ended.

    Else SQLite may look for them among all the runs that there ever were. of: `alias.`.
    """
    return f"{is_unended(of)} AND {of}status = '{Status.PENDING}'"


def is_active(of: str = "") -> str:
    """Write the condition of the run that holds its workspace. of: `alias.`."""
    kind, status = is_in(f"{of}task_type", CHANGING), is_in(f"{of}status", transitions.ACTIVE)
    return f"{of}fence IS NOT NULL AND {kind} AND {status}"


def is_held() -> sa.ColumnElement[bool]:
    """Tell of the first state-changing run that waits of a workspace whether another run, or a person, holds it."""
    other = runs.alias("other")
    active = sa.exists().where(other.c.workspace_id == runs.c.workspace_id, sa.text(is_active("other.")))
    locked = sa.exists().where(workspaces.c.name == runs.c.workspace_id, workspaces.c.locked_ms.is_not(None))
    return sa.or_(active, locked)


def _is_first() -> sa.ColumnElement[bool]:
    """Tell whether no other state-changing run of the workspace comes before. They all wait in one pool."""
    first = runs.alias("first")
    found = (
        sa.select(first.c.id)
        .where(sa.text(is_pending("first.", *CHANGING)))
        .where(first.c.pool == runs.c.pool, first.c.workspace_id == runs.c.workspace_id)
        .order_by(first.c.priority.desc(), first.c.id)
        .limit(1)
    )
    return runs.c.id == found.correlate(runs).scalar_subquery()


def _look(can_start: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Select candidates, each with whether it could start: not what only a newer version can read."""
    readable_here = runs.c.needs_protocol <= versions.PROTOCOL
    return sa.select(*COLUMNS, sa.and_(can_start, readable_here).label("can_start"))


def _window(*kinds: RunType) -> sa.Subquery:
    """Name the first runs of each of these kinds in a pool."""
    first = (
        sa.select(runs.c.id)
        .where(sa.text(is_pending()), runs.c.pool == sa.bindparam("pool"), runs.c.task_type == kind)
        .order_by(runs.c.priority.desc(), runs.c.id)
        .limit(WINDOW)
        .subquery()
        for kind in kinds
    )
    return sa.union_all(*(sa.select(window.c.id) for window in first)).subquery()


def first_of_each(name: str, key: tuple[str, ...], kinds: tuple[RunType, ...]) -> sa.CTE:
    """Name the first run, by priority, then oldest, of each key of a pool, in the order of the keys.

    name: of this look. Parameters: `pool`; `name_…` for each column of the key: what to begin behind; `jumps`: how many
    at most.
    """
    here, following = runs.alias("here"), runs.alias("following")
    first = (
        sa.select(following.c.id)
        .where(sa.text(is_pending("following.", *kinds)), following.c.pool == sa.bindparam("pool"))
        .order_by(*(following.c[name] for name in key), following.c.priority.desc(), following.c.id)
        .limit(1)
    )
    after = {column: sa.bindparam(f"{name}_{column}", type_=sa.String) for column in key}
    beginning = _behind(first, following, key, after)
    onwards = _behind(first.correlate(here), following, key, here.c)
    found = sa.select(beginning.label("id"), sa.literal(1).label("number")).cte(name, recursive=True)
    return found.union_all(
        sa.select(onwards, found.c.number + 1)
        .select_from(found.join(here, here.c.id == found.c.id))
        .where(found.c.number < sa.bindparam("jumps", type_=sa.Integer))
    )


def _behind(
    first: sa.Select[Any], following: sa.FromClause, key: tuple[str, ...], at: Any
) -> sa.ColumnElement[int | None]:
    """Select what follows a key: the same but for its last column, which is greater; else but for the last two; ...

    SQLite finds each of these in an index, but not `(a, b) > (x, y)`.
    """
    nearest = []
    for same in range(len(key) - 1, -1, -1):
        equal = (following.c[name] == at[name] for name in key[:same])
        nearest.append(first.where(*equal, following.c[key[same]] > at[key[same]]).scalar_subquery())
    return sa.func.coalesce(*nearest, None)


def _part(
    number: int, can_start: sa.ColumnElement[bool], ids: sa.FromClause, place: sa.ColumnElement[int] | None = None
) -> sa.Select[Any]:
    """Select candidates as one part of a look. place: of each in its part, where that matters."""
    place = sa.literal(0) if place is None else place
    looked = _look(can_start).add_columns(sa.literal(number).label("part"), place.label("place"))
    return looked.join(ids, ids.c.id == runs.c.id)


_ALWAYS = sa.true()
_CAN_START = sa.or_(runs.c.task_type.in_(PLANS), sa.and_(_is_first(), ~is_held()))
_SOME = sa.select(runs.c.id).where(sa.text(waits())).limit(ALL).subquery()
_NUMBER = sa.select(sa.func.count()).select_from(_SOME)
_EVERY = _look(_CAN_START).join(_SOME, _SOME.c.id == runs.c.id)

_FIRST, _WORKSPACES, _CALLERS = range(3)
"""The parts of a look at a long queue."""


def _look_at_many() -> sa.Select[Any]:
    """Select in one statement what is looked at of each long queue: a round trip costs more than any part."""
    of_workspaces = first_of_each("of_workspaces", ("workspace_id",), CHANGING)
    of_callers = first_of_each("of_callers", ("requested_by", "workspace_id"), PLANS)
    parts = sa.union_all(
        _part(_FIRST, _ALWAYS, _window(*PLANS)),
        _part(_WORKSPACES, ~is_held(), of_workspaces, of_workspaces.c.number),
        _part(_CALLERS, _ALWAYS, of_callers, of_callers.c.number),
    ).subquery("parts")
    return sa.select(parts)


_WINDOW_OF_CHANGING = _window(*CHANGING)
_FIRST_CHANGING = _look(sa.and_(_is_first(), ~is_held())).join(
    _WINDOW_OF_CHANGING, _WINDOW_OF_CHANGING.c.id == runs.c.id
)
_MANY = _look_at_many()
_MANY_KEY = tuple(_MANY.selected_columns[name] for name in ("id", "part"))


def find(
    tx: Transaction, pools: Collection[str], after: Mapping[str, Reached] = MappingProxyType({})
) -> tuple[list[Candidate], dict[str, Reached] | None]:
    """Return candidates of these pools, each once and in no order.

    The second value is None if these are all that could start. Else there may be more: look again, behind it.
    """
    waiting = tx.execute(_NUMBER).scalar_one()
    if not waiting:  # most looks are for nothing
        return [], None
    if waiting < ALL:
        every = readable.many(tx, _EVERY, (runs.c.id,), _read)
        return _startable([run for run in every if run[0].pool in pools]), None
    looked, reached = [], {}
    for pool in sorted(pools):
        found, reached[pool] = _find_in(tx, pool, after.get(pool, BEGINNING))
        looked += found
    return _startable(looked), reached


_Looked = list[tuple[Candidate, bool]]
"""Candidates with whether each could start."""


def _find_in(tx: Transaction, pool: str, after: Reached) -> tuple[_Looked, Reached]:
    by, workspace = after.caller
    given = {
        "pool": pool,
        "jumps": JUMPS,
        "of_workspaces_workspace_id": after.workspace,
        "of_callers_requested_by": by,
        "of_callers_workspace_id": workspace,
    }
    looked = readable.many(tx, _MANY, _MANY_KEY, lambda row: (row.part, row.place, _read(row)), given)
    last: dict[int, Candidate] = {}
    for part, place, (run, _) in looked:
        if place == JUMPS:
            last[part] = run
    reached = BEGINNING
    if _WORKSPACES in last:
        reached = replace(reached, workspace=last[_WORKSPACES].workspace)
    if _CALLERS in last:
        reached = replace(reached, caller=(last[_CALLERS].requested_by, last[_CALLERS].workspace))
    found = [run for _, _, run in looked]
    if after.workspace or reached.workspace:  # else the next run of every workspace is among them
        found += readable.many(tx, _FIRST_CHANGING, (runs.c.id,), _read, {"pool": pool})
    return found, reached


def _read(row: sa.Row[Any]) -> tuple[Candidate, bool]:
    return to_candidate(row), bool(row.can_start)


def _startable(looked: _Looked) -> list[Candidate]:
    return list({run.id: run for run, can_start in looked if can_start}.values())
