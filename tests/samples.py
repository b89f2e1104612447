"""Values that most tests need only as something to change one field of."""

import dataclasses
from typing import Any

from iacq.domain import versions
from iacq.domain.run import Run, RunType, Status, WarmupStatus
from iacq.domain.slot import Slot, SlotStatus
from iacq.domain.workspace import Workspace

HASH = "ab" * 32
_NONE = {
    field.name: None
    for field in dataclasses.fields(Run)
    if field.name not in {"timings", "id", "workspace", "run_type", "status", "pool"}
}


def run(status: Status = Status.PENDING, **changes: Any) -> Run:
    """Make a run."""
    known = {
        "id": 1,
        "workspace": "network",
        "run_type": RunType.PLAN_AND_APPLY,
        "status": status,
        "pool": "default",
        "priority": 0,
        "auto_apply": False,
        "requested_by": "alice",
        "attempt": 0,
        "tries": 0,
        "fence": 0,
        "warmup_status": WarmupStatus.NONE,
        "warmup_retries": 0,
        "needs_protocol": versions.RUN_NEEDS,
        "created_at": 0,
    }
    return Run(**{**_NONE, **known, **changes})


def slot(pod_name: str = "pod1", slot_id: int = 1, **changes: Any) -> Slot:
    """Make a slot; one with a run is running unless it is said to be reserved."""
    held = changes.get("run_id") is not None
    known = {
        "agent_id": f"{pod_name}-boot",
        "pool": "default",
        "status": SlotStatus.RUNNING if held else SlotStatus.IDLE,
        "run_id": None,
        "task_type": None,
        "closed": None,
        "protocol": versions.PROTOCOL,
        "updated_at": 0,
    }
    return Slot(pod_name=pod_name, slot_id=slot_id, **{**known, **changes})


def workspace(name: str = "network", **changes: Any) -> Workspace:
    """Make a workspace."""
    return Workspace(**{"name": name, "pool": "default", "path": "/srv/network", "auto_apply": False, **changes})
