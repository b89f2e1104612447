"""Logs of phases: text in order, with offsets in bytes so that a reader can resume."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from iacq.domain.run import Phase
from iacq.store import runs
from iacq.store.schema import logs
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


_SIZE = sa.select(sa.func.max(logs.c.start + logs.c.size)).where(
    logs.c.run_id == sa.bindparam("run"), logs.c.phase == sa.bindparam("phase")
)


def size(tx: Transaction, run_id: int, phase: Phase) -> int:
    """Return the length of a phase's log in bytes."""
    return tx.execute(_SIZE, {"run": run_id, "phase": phase}).scalar() or 0


_WRITTEN = (logs.c.run_id, logs.c.phase, logs.c.start, logs.c.size, logs.c.text)
_INSERT = logs.insert().from_select(
    [column.name for column in _WRITTEN],
    runs.select_for_writer(*(sa.bindparam(column.name, type_=column.type) for column in _WRITTEN)),
)
"""Checks and writes at once: what is logged on the way to the start of terraform holds the run's row no longer than
it must."""


def append(
    tx: Transaction, run_id: int, phase: Phase, *, start: int, text: str, fence: int, effects: int | None
) -> None:
    """Write a chunk. Raises Raced if the run is not the writer's any more.

    fence: of the claim; effects: the effects fence of an apply, whose log may still grow while it is interrupted.
    """
    row = {"run_id": run_id, "phase": phase, "start": start, "size": len(text.encode()), "text": text}
    if tx.execute(_INSERT, {**row, "fence": fence, "effects_fence": effects}).rowcount == 0:
        raise Raced


def read(tx: Transaction, run_id: int, *, phase: Phase | None = None, offset: int = 0, limit: int = 200) -> list[Chunk]:
    """Return chunks from an offset of one phase (or of both, plan first, from their beginning)."""
    statement = sa.select(logs).where(logs.c.run_id == run_id)
    if phase is not None:
        # The chunk that the offset is in, and those behind it: what was read before is not looked at again.
        found = sa.select(sa.func.max(logs.c.start)).where(
            logs.c.run_id == run_id, logs.c.phase == phase, logs.c.start <= offset
        )
        statement = statement.where(
            logs.c.phase == phase,
            logs.c.start >= sa.func.coalesce(found.scalar_subquery(), 0),
            logs.c.start + logs.c.size > offset,
        )
    rows = tx.execute(statement.order_by(logs.c.phase.desc(), logs.c.start).limit(limit))
    chunks = []
    for row in rows:
        start, data = row.start, row.text.encode()
        if phase is not None and start < offset:
            start, data = offset, data[offset - start :]
        rest = data.lstrip(_CONTINUATION)  # an offset in the middle of a character: the next one comes first
        chunks.append(Chunk(phase=Phase(row.phase), start=start + len(data) - len(rest), text=rest.decode()))
    return chunks
