"""Rows of a large fleet and of a long queue, without the processes."""

from typing import Any

from iacq.domain import versions
from iacq.domain.pool import PoolPolicy
from iacq.domain.run import RunType, Status
from iacq.domain.slot import PodStatus, SlotStatus
from iacq.store import migrate, pools
from iacq.store.schema import heartbeats, pods, runs, slots
from iacq.store.session import Database, Transaction
from tests.bench.system import Space

SLOTS = 3
BOOT = "boot"
"""The agent of every pod."""
POOL = "default"


def prepare(space: Space, name: str) -> Database:
    """Make an empty database with one pool of pods that were started by hand."""
    url = space.postgres or f"sqlite:///{space.directory / name}.db"
    if not space.postgres:
        migrate.upgrade(url)
    database = Database(url)
    database.run(pools.set_policy, POOL, PoolPolicy(max_pods=0, slots_per_pod=SLOTS))
    return database


def pod_name(number: int) -> str:
    """Name a pod."""
    return f"pod-{number}"


def add_pods(tx: Transaction, number: int, *, closed: str | None = None) -> None:
    """Add pods with idle slots. closed: why these get no work."""
    names = [pod_name(index) for index in range(number)]
    now = tx.now
    columns = {"pool": POOL, "agent_id": BOOT}
    tx.execute(
        pods.insert().values(
            status=PodStatus.ONLINE, slots=SLOTS, protocol=versions.PROTOCOL, since_ms=now, created_ms=now
        ),
        [{"name": name, **columns} for name in names],
    )
    tx.execute(heartbeats.insert().values(at_ms=now), [{"pod_name": name, "agent_id": BOOT} for name in names])
    tx.execute(
        slots.insert().values(status=SlotStatus.IDLE, closed=closed, protocol=versions.PROTOCOL, updated_ms=now),
        [{"pod_name": name, "slot_id": index, **columns} for name in names for index in range(1, SLOTS + 1)],
    )


def add_waiting(tx: Transaction, number: int, *, workspaces: int, run_type: RunType) -> None:
    """Add runs that wait, of some workspaces in turn, and of ten callers."""
    _add(tx, [_waiting(f"w{index % workspaces}", f"caller-{index % 10}", run_type) for index in range(number)])


def add_ended(tx: Transaction, number: int, *, workspaces: int) -> None:
    """Add runs that were applied once, of some workspaces in turn."""
    ended = {"status": Status.APPLIED, "tallied": 1, "completed_ms": 1}
    rows = [_waiting(f"w{index % workspaces}", "caller-0", RunType.PLAN_AND_APPLY) for index in range(number)]
    _add(tx, [{**row, **ended} for row in rows])


def _add(tx: Transaction, rows: list[dict[str, Any]]) -> None:
    for first in range(0, len(rows), 1000):
        tx.execute(runs.insert(), rows[first : first + 1000])


def _waiting(workspace: str, caller: str, run_type: RunType) -> dict[str, Any]:
    return {
        "workspace_id": workspace,
        "task_type": run_type,
        "status": Status.PENDING,
        "fence": 0,
        "tallied": 0,
        "attempt": 0,
        "tries": 0,
        "pool": POOL,
        "priority": 0,
        "needs_protocol": versions.RUN_NEEDS,
        "auto_apply": False,
        "requested_by": caller,
        "created_ms": 1,
        "queued_ms": 1,
    }
