"""Which artifacts a run has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


_REMOVE = artifacts.delete().where(
    artifacts.c.run_id == sa.bindparam("run"), artifacts.c.kind.in_(sa.bindparam("kinds", expanding=True))
)
_INSERT = artifacts.insert()


def record(tx: Transaction, run_id: int, found: Sequence[Artifact]) -> None:
    """Remember where artifacts are; a later claim's replace an earlier one's."""
    if not found:
        return
    rows = [{"run_id": run_id, **dataclasses.asdict(artifact)} for artifact in found]
    tx.execute(_REMOVE, {"run": run_id, "kinds": [artifact.kind for artifact in found]})
    tx.execute(_INSERT, rows)


_FIND = sa.select(artifacts).where(artifacts.c.run_id == sa.bindparam("run"), artifacts.c.kind == sa.bindparam("of"))


def find(tx: Transaction, run_id: int, kind: str) -> Artifact | None:
    """Return one artifact of a run."""
    row = tx.execute(_FIND, {"run": run_id, "of": kind}).first()
    return _to_artifact(row) if row else None


_ALL = sa.select(artifacts).where(artifacts.c.run_id == sa.bindparam("run"))


def of_run(tx: Transaction, run_id: int) -> dict[str, Artifact]:
    """Return all artifacts of a run, by kind."""
    return {row.kind: _to_artifact(row) for row in tx.execute(_ALL, {"run": run_id})}


def _to_artifact(row: sa.Row[Any]) -> Artifact:
    return Artifact(kind=row.kind, sha256=row.sha256, size=row.size, key=row.key)
