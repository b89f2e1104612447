"""Which artifacts a run has."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from iacq.store.schema import artifacts
from iacq.store.session import Transaction


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One stored thing of a run."""

    kind: str
    sha256: str  # of what was sealed
    size: int  # bytes of what was sealed
    key: str  # in the artifact store


def record(tx: Transaction, run_id: int, artifact: Artifact) -> None:
    """Remember where an artifact is; a later claim's replaces an earlier one's."""
    tx.execute(artifacts.delete().where(artifacts.c.run_id == run_id, artifacts.c.kind == artifact.kind))
    tx.execute(
        artifacts.insert().values(
            run_id=run_id, kind=artifact.kind, sha256=artifact.sha256, size=artifact.size, key=artifact.key
        )
    )


def find(tx: Transaction, run_id: int, kind: str) -> Artifact | None:
    """Return one artifact of a run."""
    row = tx.execute(sa.select(artifacts).where(artifacts.c.run_id == run_id, artifacts.c.kind == kind)).first()
    return Artifact(kind=row.kind, sha256=row.sha256, size=row.size, key=row.key) if row else None
