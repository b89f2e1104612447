"""Logs of phases: text in order, with offsets in bytes so that a reader can resume."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from iacq.domain.run import Phase, Status
from iacq.store.schema import logs, runs
from iacq.store.session import Raced, Transaction

_CONTINUATION = bytes(range(0x80, 0xC0))
"""Bytes that no character of UTF-8 begins with."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of a log."""

    phase: Phase
    start: int  # bytes of this phase's log before it
    text: str

    @property
    def end(self) -> int:
        """Offset of what comes next."""
        return self.start + len(self.text.encode())


def size(tx: Transaction, run_id: int, phase: Phase) -> int:
    """Return the length of a phase's log in bytes."""
    total = tx.execute(
        sa.select(sa.func.max(logs.c.start + logs.c.size)).where(logs.c.run_id == run_id, logs.c.phase == phase)
    ).scalar()
    return total or 0


def append(
    tx: Transaction, run_id: int, phase: Phase, *, start: int, text: str, fence: int, effects: int | None
) -> None:
    """Write a chunk. Raises Raced if the run is not the writer's any more.

    fence: of the claim; effects: the effects fence of an apply, whose log may still grow while it is interrupted.
    """
    mine = sa.or_(
        runs.c.fence == fence,
        sa.and_(runs.c.status == Status.APPLY_INTERRUPTED, runs.c.effects_fence == (effects or -1)),
    )
    # The row is locked in share mode, so that no other claim begins between this check and the commit.
    found = tx.execute(sa.select(runs.c.id).where(runs.c.id == run_id, mine).with_for_update(read=True)).first()
    if found is None:
        raise Raced
    tx.execute(logs.insert().values(run_id=run_id, phase=phase, start=start, size=len(text.encode()), text=text))


def read(tx: Transaction, run_id: int, *, phase: Phase | None = None, offset: int = 0, limit: int = 200) -> list[Chunk]:
    """Return chunks from an offset of one phase (or of both, plan first, from their beginning)."""
    statement = sa.select(logs).where(logs.c.run_id == run_id)
    if phase is not None:
        statement = statement.where(logs.c.phase == phase, logs.c.start + logs.c.size > offset)
    rows = tx.execute(statement.order_by(logs.c.phase.desc(), logs.c.start).limit(limit))
    chunks = []
    for row in rows:
        start, data = row.start, row.text.encode()
        if phase is not None and start < offset:
            start, data = offset, data[offset - start :]
        rest = data.lstrip(_CONTINUATION)  # an offset in the middle of a character: the next one comes first
        chunks.append(Chunk(phase=Phase(row.phase), start=start + len(data) - len(rest), text=rest.decode()))
    return chunks
