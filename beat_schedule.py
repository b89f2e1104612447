"""What Celery beat rings on `iacq.control`. Two beats are harmless: every job is idempotent.

A job that waits longer than its own period is dropped (`expires`), so that nothing piles up while no control runs.
"""

from __future__ import annotations

from typing import Any

from iacq import messages


def _every(seconds: float, task: str) -> dict[str, Any]:
    return {
        "task": task,
        "schedule": seconds,
        "options": {"queue": messages.CONTROL_QUEUE, "expires": seconds * 2, "headers": messages.VERSION},
    }


BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "dispatch": _every(2, messages.DISPATCH),
    "resend": _every(2, messages.RESEND),
    "recover": _every(2, messages.RECOVER),
    "check-agents": _every(5, messages.CHECK_AGENTS),
    "reconcile-pods": _every(5, messages.RECONCILE_PODS),
    "begin-warmups": _every(5, messages.BEGIN_WARMUPS),
    "expire-warmups": _every(5, messages.EXPIRE_WARMUPS),
    "tally": _every(5, messages.TALLY),
    "apply-freeze-windows": _every(2, messages.APPLY_FREEZE_WINDOWS),
    "expire-plans": _every(10, messages.EXPIRE_PLANS),
    "retention": _every(300, messages.RETENTION),
    "cleanup-work-dirs": _every(60, messages.CLEANUP_WORK_DIRS),
}
