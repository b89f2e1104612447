"""What freezes each pool, the marker that says it is frozen, and the guard that dispatch, confirmations and claims ask.

Decided is by `domain.freeze`; kept in the pool's row is what follows: since when it is marked frozen, or else from
which moment on the next window freezes it. So the guard is a condition of one row, which it locks: whoever marks the
pool waits for those who found it open, or they see the mark; and a window begins at its moment though nobody marks it.
Whatever is changed here is changed under `lock`, and `settle` follows it in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from iacq.domain import workspace
from iacq.domain.freeze import deciding, windows, wording, writing
from iacq.domain.freeze.deciding import Decision
from iacq.domain.freeze.windows import Bypass, Freezes, Manual, OneOff, Recurring, Window
from iacq.errors import Conflict, NotFound
from iacq.store import freeze_events
from iacq.store.freeze_events import Action
from iacq.store.schema import freeze_windows, pools
from iacq.store.session import Raced, Transaction, now_ms

_IS_FROZEN = sa.or_(pools.c.frozen_ms.is_not(None), pools.c.freezes_ms <= now_ms())
_OF_WINDOW = tuple(column for column in freeze_windows.c if column.name not in {"created_ms", "created_by"})
_WITH_NOW = sa.select(pools, now_ms().label("now")).order_by(pools.c.name)

FROZEN_POOLS = sa.select(pools.c.name).where(_IS_FROZEN)
"""Names of the pools in which nothing is dispatched or claimed."""


@dataclass(frozen=True, kw_only=True)
class PoolFreezes:
    """All that a pool keeps about freezes, at a moment."""

    pool: str
    freezes: Freezes
    frozen_since: int | None  # ms: since when it is marked frozen; None: it is not
    freezes_at: int | None  # ms: from then on guards take it for frozen, marked or not; None: no such moment
    now: int  # ms, by the database's clock

    @cached_property
    def decision(self) -> Decision:
        """Whether it is frozen, why, and until when."""
        return deciding.decide(self.freezes, self.now)

    @property
    def frozen(self) -> bool:
        """Tell whether nothing is dispatched or claimed: by the decision, or still by the marker."""
        return self.decision.frozen or self.frozen_since is not None

    @property
    def text(self) -> str:
        """Say it in a sentence."""
        if self.frozen and not self.decision.frozen:
            return "its freeze is over: it opens within seconds"
        return wording.describe(self.decision)

    @property
    def settled(self) -> bool:
        """Tell whether the marker is as decided."""
        if self.decision.frozen:
            return self.frozen_since is not None
        return self.frozen_since is None and self.freezes_at == self.decision.next_change


_SHARE = sa.select(_IS_FROZEN).where(pools.c.name == sa.bindparam("pool")).with_for_update(read=True)


def is_open(tx: Transaction, pool: str) -> bool:
    """Tell whether work may begin in a pool, and keep it so until this transaction ends."""
    return not tx.execute(_SHARE, {"pool": pool}).scalar()


def require_open(tx: Transaction, pool: str) -> None:
    """Like `is_open`. Raises Raced if the pool is frozen."""
    if not is_open(tx, pool):
        raise Raced


def is_frozen(tx: Transaction, pool: str) -> bool:
    """Tell whether a pool is frozen, for decisions that may be late; False if there is no such pool."""
    return tx.execute(FROZEN_POOLS.where(pools.c.name == pool)).first() is not None


def sentences(tx: Transaction, *, pool: str | None = None) -> dict[str, str]:
    """Say of each pool that is frozen (or of this one, if it is) until when, and why."""
    wanted = _WITH_NOW if pool is None else _WITH_NOW.where(pools.c.name == pool)
    return {found.pool: found.text for found in _read(tx, wanted) if found.frozen}


def find(tx: Transaction, pool: str) -> PoolFreezes:
    """Return what a pool keeps. Raises NotFound if there is no such pool, InvalidInput if there can be none."""
    workspace.check_name(pool, field="pool")
    found = _read(tx, _WITH_NOW.where(pools.c.name == pool))
    return _only(found, pool)


def listed(tx: Transaction) -> list[PoolFreezes]:
    """Return what all pools keep, by name."""
    return _read(tx, _WITH_NOW)


def lock(tx: Transaction, pool: str) -> PoolFreezes:
    """Return what a pool keeps; nobody else finds it open or changes it before this transaction ends.

    Raises as `find` does.
    """
    workspace.check_name(pool, field="pool")
    tx.execute(sa.select(pools.c.name).where(pools.c.name == pool).with_for_update())
    return find(tx, pool)


def _only(found: list[PoolFreezes], pool: str) -> PoolFreezes:
    if not found:
        raise NotFound(f"there is no pool {pool[:60]!a}", field="pool", hint="`iacq pool list` shows them")
    return found[0]


def _read(tx: Transaction, wanted: sa.Select[Any]) -> list[PoolFreezes]:
    rows = tx.execute(wanted).all()
    of_pool: dict[str, list[Window]] = {}
    kept = sa.select(*_OF_WINDOW).order_by(freeze_windows.c.pool, freeze_windows.c.name)
    if len(rows) == 1:
        kept = kept.where(freeze_windows.c.pool == rows[0].name)
    for row in tx.execute(kept):
        stored = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
        of_pool.setdefault(stored.pop("pool"), []).append(writing.restore(stored))
    return [_to_freezes(row, tuple(of_pool.get(row.name, ()))) for row in rows]


def _to_freezes(row: sa.Row[Any], found: tuple[Window, ...]) -> PoolFreezes:
    manual = bypass = None
    if row.freeze_since_ms is not None:
        manual = Manual(
            since=row.freeze_since_ms,
            until=row.freeze_until_ms,
            reason=row.freeze_reason or "",
            by=row.freeze_by or "nobody",
        )
    if row.bypass_since_ms is not None and row.bypass_until_ms is not None:
        bypass = Bypass(
            since=row.bypass_since_ms,
            until=row.bypass_until_ms,
            reason=row.bypass_reason or "",
            by=row.bypass_by or "nobody",
        )
    return PoolFreezes(
        pool=row.name,
        freezes=Freezes(windows=found, manual=manual, bypass=bypass),
        frozen_since=row.frozen_ms,
        freezes_at=row.freezes_ms,
        now=row.now,
    )


def settle(tx: Transaction, pool: str) -> PoolFreezes:
    """Mark a pool that `lock` holds as it is decided now; returns what it keeps then."""
    found = find(tx, pool)
    decision = found.decision
    if found.settled:
        return found
    if decision.frozen:
        began = found.now if found.freezes_at is None else min(found.freezes_at, found.now)
        _update(tx, pool, frozen_ms=began, freezes_ms=None)
        freeze_events.record(tx, pool, Action.ENTERED, details=found.text)
    else:
        _update(tx, pool, frozen_ms=None, freezes_ms=decision.next_change)
        if found.frozen_since is not None:
            freeze_events.record(tx, pool, Action.LEFT)
    return find(tx, pool)


def set_manual(tx: Transaction, pool: str, manual: Manual | None) -> None:
    """Freeze by hand, which ends a bypass; None: lift that."""
    values: dict[str, Any] = dict.fromkeys(("freeze_since_ms", "freeze_until_ms", "freeze_reason", "freeze_by"))
    if manual is not None:
        values = {
            "freeze_since_ms": manual.since,
            "freeze_until_ms": manual.until,
            "freeze_reason": manual.reason,
            "freeze_by": manual.by,
            **dict.fromkeys(("bypass_since_ms", "bypass_until_ms", "bypass_reason", "bypass_by")),
        }
    _update(tx, pool, **values)


def set_bypass(tx: Transaction, pool: str, bypass: Bypass) -> None:
    """Lift whatever freezes the pool until a moment."""
    _update(
        tx,
        pool,
        bypass_since_ms=bypass.since,
        bypass_until_ms=bypass.until,
        bypass_reason=bypass.reason,
        bypass_by=bypass.by,
    )


def _update(tx: Transaction, pool: str, **values: Any) -> None:
    tx.execute(pools.update().where(pools.c.name == pool).values(**values))


def add_window(tx: Transaction, pool: str, window: Recurring | OneOff, *, by: str) -> None:
    """Keep a window. Raises Conflict if the pool has one of that name."""
    if _exists(tx, pool, window.name):
        raise Conflict(
            f"pool {pool} has a freeze window {window.name} already",
            field="--name",
            hint=f"choose another name, or `iacq freeze remove {pool} {window.name}` first",
        )
    kept = dict(windows.store(window))
    tx.execute(freeze_windows.insert().values({"pool": pool, **kept, "created_ms": tx.now, "created_by": by}))


def remove_window(tx: Transaction, pool: str, name: str) -> None:
    """Forget a window. Raises NotFound if the pool has none of that name."""
    where = (freeze_windows.c.pool == pool, freeze_windows.c.name == name)
    if tx.execute(freeze_windows.delete().where(*where)).rowcount == 0:
        raise NotFound(
            f"pool {pool} has no freeze window {name[:60]!a}", field="window", hint=f"`iacq freeze list {pool}`"
        )


def _exists(tx: Transaction, pool: str, name: str) -> bool:
    where = (freeze_windows.c.pool == pool, freeze_windows.c.name == name)
    return tx.execute(sa.select(freeze_windows.c.name).where(*where)).first() is not None
