"""Pools: their size policy, the template of their pods, and what became of the last ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from iacq.domain.pod_failures import PodFailures
from iacq.domain.pool import Pool, PoolPolicy
from iacq.errors import Conflict
from iacq.store.schema import pools
from iacq.store.session import Transaction


def create(tx: Transaction, name: str, policy: PoolPolicy, *, template: Mapping[str, Any] | None = None) -> None:
    """Add a pool. Raises Conflict if there is one of that name."""
    if find(tx, name) is not None:
        raise Conflict(f"there is a pool {name} already", field="name", hint=f"`iacq pool update {name}` changes it")
    tx.execute(
        pools.insert().values(
            name=name,
            **_policy_values(policy),
            template=template,
            generation=1,
            failed_count=0,
            failed_first_ms=0,
            failed_last_ms=0,
            created_ms=tx.now,
            updated_ms=tx.now,
        )
    )


def set_policy(tx: Transaction, name: str, policy: PoolPolicy) -> None:
    """Give a pool this size policy; create it if there is none of that name."""
    changed = tx.execute(
        pools.update().where(pools.c.name == name).values(**_policy_values(policy), updated_ms=tx.now)
    ).rowcount
    if not changed:
        create(tx, name, policy)


def find(tx: Transaction, name: str) -> Pool | None:
    """Return one pool, if there is one of that name."""
    row = tx.execute(sa.select(pools).where(pools.c.name == name)).first()
    return _to_pool(row) if row else None


def listed(tx: Transaction) -> list[Pool]:
    """Return all pools by name."""
    return [_to_pool(row) for row in tx.execute(sa.select(pools).order_by(pools.c.name))]


def _policy_values(policy: PoolPolicy) -> dict[str, int]:
    return {
        "min_pods": policy.min_pods,
        "max_pods": policy.max_pods,
        "slots_per_pod": policy.slots_per_pod,
        "headroom": policy.headroom,
        "idle_grace_ms": policy.idle_grace_ms,
    }


def _to_pool(row: sa.Row[Any]) -> Pool:
    return Pool(
        name=row.name,
        policy=PoolPolicy(
            min_pods=row.min_pods,
            max_pods=row.max_pods,
            slots_per_pod=row.slots_per_pod,
            headroom=row.headroom,
            idle_grace_ms=row.idle_grace_ms,
        ),
        template=row.template,
        generation=row.generation,
        failures=PodFailures(count=row.failed_count, first_created_at=row.failed_first_ms, last_at=row.failed_last_ms),
        created_at=row.created_ms,
        updated_at=row.updated_ms,
    )
