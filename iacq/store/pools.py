"""Pools: their size policy, the template of their pods, and what became of the last ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from iacq.domain import pod_failures
from iacq.domain.pod_failures import PodFailures
from iacq.domain.pool import Pool, PoolPolicy
from iacq.errors import Conflict, NotFound
from iacq.store.schema import freeze_windows, pods, pools, runs, workspaces
from iacq.store.session import Transaction
from iacq.store.startable import is_unended


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


def ensure(tx: Transaction, name: str, *, slots: int) -> None:
    """Add the pool of a pod that was started by hand, if there is none of that name: iacq starts no pods for it."""
    if find(tx, name) is None:
        with contextlib.suppress(IntegrityError), tx.connection.begin_nested():  # two pods may be the first ones
            create(tx, name, PoolPolicy(max_pods=0, slots_per_pod=slots))


def note_failure(tx: Transaction, name: str, *, asked_at: int, reason: str) -> None:
    """Count a pod that failed. asked_at: when it was asked for, ms."""
    _change_failures(tx, name, lambda known, now: pod_failures.after_failure(known, created_at=asked_at, now=now))
    tx.execute(pools.update().where(pools.c.name == name).values(failed_reason=reason))


def note_online(tx: Transaction, name: str, *, asked_at: int, since: int) -> None:
    """Take note of a pod that works, since then (ms), for the count of those that failed."""
    _change_failures(
        tx,
        name,
        lambda known, now: pod_failures.after_online(known, created_at=asked_at, online_since=since, now=now),
    )


def _change_failures(tx: Transaction, name: str, change: Callable[[PodFailures, int], PodFailures]) -> None:
    row = tx.execute(sa.select(pools, tx.now.label("now")).where(pools.c.name == name).with_for_update()).first()
    if row is None:
        return
    known = _to_pool(row).failures
    changed = change(known, row.now)
    if changed != known:
        values = {
            "failed_count": changed.count,
            "failed_first_ms": changed.first_created_at,
            "failed_last_ms": changed.last_at,
            "failed_reason": row.failed_reason if changed.count else None,
        }
        tx.execute(pools.update().where(pools.c.name == name).values(**values))


def find(tx: Transaction, name: str) -> Pool | None:
    """Return one pool, if there is one of that name."""
    row = tx.execute(sa.select(pools).where(pools.c.name == name)).first()
    return _to_pool(row) if row else None


def get(tx: Transaction, name: str) -> Pool:
    """Return one pool. Raises NotFound."""
    pool = find(tx, name)
    if pool is None:
        raise _not_found(name)
    return pool


def _not_found(name: str) -> NotFound:
    shown = ascii(name if len(name) <= 60 else name[:57] + "...").strip("'")
    return NotFound(f"there is no pool {shown}", field="pool", hint="`iacq pool list` shows them")


def change(
    tx: Transaction, name: str, policy: PoolPolicy, *, template: Mapping[str, Any] | None, replace_pods: bool
) -> Pool:
    """Give a pool this policy and template; replace_pods: its pods are of an older generation from now on.

    Raises NotFound.
    """
    values: dict[str, Any] = {**_policy_values(policy), "template": template, "updated_ms": tx.now}
    if replace_pods:
        values["generation"] = pools.c.generation + 1
    row = tx.execute(pools.update().where(pools.c.name == name).values(**values).returning(*pools.c)).first()
    if row is None:
        raise _not_found(name)
    return _to_pool(row)


def hold_alone(tx: Transaction, name: str) -> Pool:
    """Return a pool that nobody else changes until this transaction ends. Raises NotFound."""
    if tx.execute(sa.select(pools.c.name).where(pools.c.name == name).with_for_update()).first() is None:
        raise _not_found(name)
    return get(tx, name)


def delete(tx: Transaction, name: str) -> None:
    """Remove a pool that nothing belongs to. Raises NotFound, Conflict that names what does."""
    hold_alone(tx, name)
    for what, found, hint in (
        ("workspaces", sa.select(workspaces.c.name).where(workspaces.c.pool == name), "move or delete them first"),
        (
            "runs that have not ended",
            sa.select(runs.c.id).where(sa.text(is_unended()), runs.c.pool == name),
            "`iacq queue` shows them",
        ),
        ("pods", sa.select(pods.c.name).where(pods.c.pool == name), f"`iacq pool update {name} --min 0 --max 0` first"),
    ):
        belonging = tx.execute(found.order_by(sa.literal_column("1")).limit(6)).scalars().all()
        if belonging:
            named = ", ".join(map(str, belonging[:5])) + (", …" if len(belonging) > 5 else "")
            raise Conflict(f"pool {name} has {what}: {named}", field="pool", hint=hint)
    tx.execute(freeze_windows.delete().where(freeze_windows.c.pool == name))
    tx.execute(pools.delete().where(pools.c.name == name))


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
        failed_reason=row.failed_reason,
        created_at=row.created_ms,
        updated_at=row.updated_ms,
    )
