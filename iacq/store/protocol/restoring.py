"""Steps after the database was restored from a backup: what may have happened since then must not happen again.

The rows tell what was at the time of the backup. Messages, keepers, work directories and processes may be from later,
and name attempts, fences and runs that the database would give out a second time. So no number of before is used again.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from iacq.domain import recovery
from iacq.domain.run import Run, Status
from iacq.domain.transitions import Cause
from iacq.store import control, runs
from iacq.store.schema import heartbeats, outbox, pods, slots, states, workspaces
from iacq.store.session import Transaction
from iacq.store.statement import NOW, Keep

STEP = 1_000_000
"""What attempts, fences and run ids are raised by: more than can have been used since any backup."""

_SEQUENCE = sa.text(
    """
    SELECT coalesce(
        pg_get_serial_sequence('workspace_tasks', 'id')::regclass,
        (SELECT d.refobjid::regclass
           FROM pg_depend d
           JOIN pg_attrdef a ON a.oid = d.objid AND d.classid = 'pg_attrdef'::regclass
           JOIN pg_attribute c ON c.attrelid = a.adrelid AND c.attnum = a.adnum
           JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
          WHERE a.adrelid = 'workspace_tasks'::regclass AND c.attname = 'id')
    )::oid
    """
)
"""The sequence of a `serial`, an identity, or any other that the default of `id` names."""


def seen_lately(tx: Transaction, *, ms: int) -> list[str]:
    """Return who gave a sign of life in the last `ms` milliseconds, as people call them."""
    recent = sa.select(heartbeats.c.pod_name).where(heartbeats.c.at_ms >= tx.now - ms).order_by(heartbeats.c.pod_name)
    names = tx.execute(recent).scalars().all()
    there = ["a control worker"] if any(not control.is_pod(name) for name in names) else []
    return there + [f"pod {name}" for name in names if control.is_pod(name)]


def restore(tx: Transaction, run: Run, *, by: str) -> Run:
    """An unended run → what it may be now; its attempt and fence are ones that nobody ever had.

    An apply that may have started gets a new effects fence too: evidence of before proves nothing of what came after
    the backup, so it is not taken for the run's; a person resolves it. What is planned anew waits for a confirmation.
    """
    target = recovery.decide_after_restore(run)
    fence = run.fence + STEP
    values: dict[str, Any] = {"owner": None, "lease_until": None, "queue": None, "stage": None, **runs.LOST_PLACE}
    if target is Status.APPLY_INTERRUPTED:
        values |= {"effects_at_ms": Keep(NOW), "effects_fence": fence}
    if target is Status.PENDING:
        values |= {"auto_apply": False, "tries": 0}
    return runs.transition(
        tx,
        run.id,
        Cause.RESTORED,
        run.status,
        target,
        {"fence": run.fence},
        by=by,
        fence=fence,
        attempt=run.attempt + STEP,
        **values,
    )


def forget_the_fleet(tx: Transaction) -> None:
    """Forget pods, slots and bells: every agent registers anew, and every queued run is dispatched anew."""
    for rows in (outbox, slots, heartbeats, pods):
        tx.execute(rows.delete())


def lock_automatic(tx: Transaction, *, by: str, reason: str) -> list[str]:
    """Lock the unlocked workspaces that apply without being asked and whose state is kept here; returns their names.

    Their state may be older than what is real, and nobody would read the plan that this leads to.
    """
    managed = sa.select(states.c.workspace_id)
    locked = tx.execute(
        workspaces.update()
        .where(workspaces.c.auto_apply, workspaces.c.locked_ms.is_(None), workspaces.c.name.in_(managed))
        .values(locked_by=by, locked_reason=reason, locked_ms=tx.now)
        .returning(workspaces.c.name)
    )
    return sorted(locked.scalars())


def skip_run_ids(tx: Transaction) -> int | None:
    """Let ids go on far behind those of any run after the backup: messages and work directories are named by them.

    Returns the id behind which they go on; None if the ids of a table that was there before come from something else
    than a sequence.
    """
    if tx.connection.dialect.name == "sqlite":
        return _skip_sqlite(tx)
    sequence = tx.execute(_SEQUENCE).scalar()
    if sequence is None:
        return None
    raised = sa.text("SELECT setval(CAST(:oid AS regclass), nextval(CAST(:oid AS regclass)) + :step)")
    return int(tx.execute(raised.bindparams(oid=sequence, step=STEP)).scalar_one())


def _skip_sqlite(tx: Transaction) -> int:
    present = tx.execute(sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'workspace_tasks'")).scalar() or 0
    tx.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = 'workspace_tasks'"))
    raised = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('workspace_tasks', :seq)")
    tx.execute(raised.bindparams(seq=present + STEP))
    return int(present + STEP)
