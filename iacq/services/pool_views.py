"""Pools and what the scaler thinks of them, as other programs read them."""

from __future__ import annotations

from typing import Any

from iacq.domain import slot
from iacq.services.pools import Shown
from iacq.services.scaling import Decision
from iacq.services.views import rfc3339


def pool_to_json(shown: Shown) -> dict[str, Any]:
    """Show a pool."""
    pool, policy = shown.pool, shown.pool.policy
    return {
        "name": pool.name,
        "min_pods": policy.min_pods,
        "max_pods": policy.max_pods,
        "slots_per_pod": policy.slots_per_pod,
        "headroom": policy.headroom,
        "idle_grace_ms": policy.idle_grace_ms,
        "template": pool.template,
        "generation": pool.generation,
        "pods": {status: shown.pods.get(status, 0) for status in slot.PodStatus},
        "failures": pool.failures.count,
        "failed_at": rfc3339(pool.failures.last_at or None),
        "created_at": rfc3339(pool.created_at),
        "updated_at": rfc3339(pool.updated_at),
    }


def scaling_to_json(decision: Decision) -> dict[str, Any]:
    """Show what the size of a pool depends on, what follows, and why."""
    seen, scaling = decision.inputs, decision.scaling
    demand, capacity = seen.demand, scaling.capacity
    return {
        "pool": seen.pool.name,
        "frozen": seen.frozen,
        "demand": {
            "startable": demand.startable,
            "confirmed": demand.confirmed,
            "running": demand.running,
            "interrupted": demand.interrupted,
            "apply_pending": demand.apply_pending,
            "unprepared": demand.unprepared,
        },
        "capacity": {
            "pods": capacity.pods,
            "slots": capacity.slots,
            "free": capacity.free,
            "elsewhere": capacity.elsewhere,
            "existing": capacity.existing,
            "starting": capacity.starting,
        },
        "desired": scaling.desired.pods,
        "needed": scaling.desired.needed,
        "limit": scaling.desired.limit,
        "create": scaling.create,
        "drain": list(scaling.drain),
        "give_up": scaling.give_up,
        "retry_at": rfc3339(scaling.retry_at),
        "reasons": [{"code": reason.code, "text": reason.text} for reason in decision.explain()],
        "at": rfc3339(seen.now),
    }
