"""Doorbells that must be rung until the run they are for is claimed."""

from __future__ import annotations

import sqlalchemy as sa

from iacq.domain.run import Phase, Run
from iacq.messages import Doorbell
from iacq.store.schema import outbox
from iacq.store.session import Transaction, now_ms

FIRST_RESEND_MS = 15_000
LAST_RESEND_MS = 120_000


def resend_after(rings: int) -> int:
    """Milliseconds until a bell that was rung `rings` times is rung again."""
    return int(min(FIRST_RESEND_MS * 2 ** max(rings - 1, 0), LAST_RESEND_MS))


_INSERT = outbox.insert().values(created_ms=now_ms(), next_ms=now_ms() + FIRST_RESEND_MS)


def put(tx: Transaction, run: Run, phase: Phase, queue: str) -> Doorbell:
    """Keep the bell of this attempt; whoever wrote it rings after the commit. A run that waits has none yet."""
    values = {"phase": phase, "attempt": run.attempt, "queue": queue, "workspace": run.workspace, "rings": 1}
    tx.execute(_INSERT, {"run_id": run.id, **values})
    return Doorbell(run_id=run.id, phase=phase, attempt=run.attempt, queue=queue, workspace=run.workspace)


_REMOVE = outbox.delete().where(outbox.c.run_id == sa.bindparam("run"))


def remove(tx: Transaction, run_id: int) -> None:
    """Forget the bell of a run: it was claimed, taken back or ended."""
    tx.execute(_REMOVE, {"run": run_id})


def take_due(tx: Transaction, *, limit: int = 500) -> list[Doorbell]:
    """Return the bells whose time has come, and set when they come next."""
    readable = outbox.c.phase.in_(list(Phase))  # another word was written by hand; its claim times out
    wanted = sa.select(outbox).where(outbox.c.next_ms <= tx.now, readable).order_by(outbox.c.next_ms).limit(limit)
    due = tx.execute(wanted).all()
    bells = []
    for row in due:
        changed = tx.execute(
            outbox.update()
            .where(outbox.c.run_id == row.run_id, outbox.c.attempt == row.attempt, outbox.c.rings == row.rings)
            .values(rings=row.rings + 1, next_ms=tx.now + resend_after(row.rings + 1))
        )
        if changed.rowcount:
            bells.append(
                Doorbell(
                    run_id=row.run_id,
                    phase=Phase(row.phase),
                    attempt=row.attempt,
                    queue=row.queue,
                    workspace=row.workspace,
                )
            )
    return bells
