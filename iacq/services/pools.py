"""Create and change pools."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iacq.domain import pod_template, workspace
from iacq.domain.pool import Pool, PoolPolicy
from iacq.domain.slot import DEFAULT_SLOTS
from iacq.errors import InvalidInput
from iacq.messages import RECONCILE_PODS
from iacq.services.core import Core
from iacq.store import counts, pools
from iacq.store.session import Transaction

_MOST = 100_000
"""Pods, slots of a pod, slots of headroom: more is a slip of the keyboard."""
_LONGEST_GRACE_MS = 365 * 86_400_000


@dataclass(frozen=True, kw_only=True)
class PoolChange:
    """What is to be different in a pool, or said about a new one. None: as it is, or the default."""

    min_pods: int | None = None
    max_pods: int | None = None
    slots_per_pod: int | None = None
    headroom: int | None = None  # slots
    idle_grace_ms: int | None = None
    template: Mapping[str, Any] | None = None  # {}: none

    @property
    def of_policy(self) -> dict[str, int]:
        """The numbers that were given."""
        given = dataclasses.asdict(self)
        return {
            field.name: given[field.name] for field in dataclasses.fields(PoolPolicy) if given[field.name] is not None
        }


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A pool with the pods that it has."""

    pool: Pool
    pods: Mapping[str, int]  # how many, by status


def create(core: Core, name: str, given: PoolChange) -> Shown:
    """Store a new pool: up to one pod, unless more is said. Raises InvalidInput, Conflict."""
    workspace.check_name(name, field="pool")
    defaults = PoolPolicy(
        max_pods=max(1, given.min_pods or 0),
        slots_per_pod=DEFAULT_SLOTS,
        idle_grace_ms=int(core.settings.pod_idle_grace * 1000),
    )
    policy = _checked(dataclasses.replace(defaults, **given.of_policy))
    core.database.run(pools.create, name, policy, template=_template(given, None))
    core.ring_control(RECONCILE_PODS)
    return show(core, name)


def update(core: Core, name: str, given: PoolChange) -> Shown:
    """Change a pool. Pods of another template, or with another number of slots, are replaced.

    Raises InvalidInput, NotFound; nothing is changed then.
    """
    core.database.run(_update, name, given)
    core.ring_control(RECONCILE_PODS)
    return show(core, name)


def _update(tx: Transaction, name: str, given: PoolChange) -> None:
    present = pools.hold_alone(tx, name)
    policy = _checked(dataclasses.replace(present.policy, **given.of_policy))
    template = _template(given, present.template)
    other = template != present.template or policy.slots_per_pod != present.policy.slots_per_pod
    pools.change(tx, name, policy, template=template, replace_pods=other)


def roll(core: Core, name: str) -> Shown:
    """Let every pod of a pool be replaced by a new one. Raises NotFound."""
    core.database.run(_roll, name)
    core.ring_control(RECONCILE_PODS)
    return show(core, name)


def _roll(tx: Transaction, name: str) -> None:
    present = pools.hold_alone(tx, name)
    pools.change(tx, name, present.policy, template=present.template, replace_pods=True)


def delete(core: Core, name: str) -> None:
    """Remove a pool. Raises NotFound, and Conflict while something belongs to it."""
    core.database.run(pools.delete, name)


def show(core: Core, name: str) -> Shown:
    """Return one pool. Raises NotFound."""
    return core.database.read(_show, name)


def _show(tx: Transaction, name: str) -> Shown:
    return _shown(pools.get(tx, name), counts.pods_by_status(tx))


def listed(core: Core) -> list[Shown]:
    """Return all pools by name."""
    return core.database.read(_listed)


def _listed(tx: Transaction) -> list[Shown]:
    numbers = counts.pods_by_status(tx)
    return [_shown(pool, numbers) for pool in pools.listed(tx)]


def _shown(pool: Pool, numbers: counts.Pairs) -> Shown:
    return Shown(pool=pool, pods={status: int(number) for (of, status), number in numbers.items() if of == pool.name})


def _checked(policy: PoolPolicy) -> PoolPolicy:
    for field, value, most in (
        ("--max", policy.max_pods, _MOST),
        ("--slots", policy.slots_per_pod, _MOST),
        ("--headroom", policy.headroom, _MOST),
        ("--idle-grace", policy.idle_grace_ms, _LONGEST_GRACE_MS),
    ):
        if value > most:
            raise InvalidInput(f"{field} is more than a pool can have", field=field, hint=f"at most {most}")
    return policy


def _template(given: PoolChange, present: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return present if given.template is None else pod_template.check(given.template) or None
