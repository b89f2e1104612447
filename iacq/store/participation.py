"""Which processes may take part: what the database demands that they speak, and what those speak that are heard."""

from __future__ import annotations

import sqlalchemy as sa

from iacq.domain import versions
from iacq.domain.slot import GOING, PodStatus
from iacq.store import control
from iacq.store.schema import demands, heartbeats, pods
from iacq.store.session import Transaction

_LIVING = (PodStatus.ONLINE, *sorted(GOING))
_DEMANDED = sa.select(sa.func.coalesce(sa.func.max(demands.c.protocol), 0))


def demanded(tx: Transaction) -> int:
    """Return the protocol that a process must speak at least; 0: any."""
    return int(tx.execute(_DEMANDED).scalar_one())


def demand(tx: Transaction, protocol: int) -> bool:
    """Let nothing older take part from now on; tells whether that is new."""
    if demanded(tx) >= protocol:
        return False
    tx.execute(demands.insert().values(protocol=protocol, since_ms=tx.now))
    return True


def heard_older(tx: Transaction, protocol: int, *, ms: int) -> list[str]:
    """Name the processes that were heard in the last `ms` milliseconds and speak an older protocol, for people."""
    older = (
        sa.select(pods.c.name)
        .join(heartbeats, heartbeats.c.pod_name == pods.c.name)
        .where(pods.c.status.in_(_LIVING), heartbeats.c.at_ms >= tx.now - ms)
        .where(sa.func.coalesce(pods.c.protocol, 0) < protocol)
        .order_by(pods.c.name)
    )
    workers = ["a control worker"] if any(found < protocol for found in control.protocols(tx, ms=ms)) else []
    return workers + [f"pod {name}" for name in tx.execute(older).scalars()]


def newest_by_pool(tx: Transaction) -> dict[str, int]:
    """Return the newest protocol that the online pods of each pool speak."""
    newest = sa.select(pods.c.pool, sa.func.max(sa.func.coalesce(pods.c.protocol, 0)).label("newest"))
    rows = tx.execute(newest.where(pods.c.status == PodStatus.ONLINE).group_by(pods.c.pool))
    return {row.pool: int(row.newest) for row in rows}


def too_old(tx: Transaction) -> list[tuple[str, str]]:
    """Return the pods that may still get work though the database demands a newer protocol, each with the reason."""
    wanted = demanded(tx)
    old = sa.select(pods.c.name, pods.c.protocol).where(
        pods.c.status == PodStatus.ONLINE, sa.func.coalesce(pods.c.protocol, 0) < wanted
    )
    return [(row.name, versions.too_old(row.protocol, wanted) or "") for row in tx.execute(old)]
