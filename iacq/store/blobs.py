"""The artifact store in PostgreSQL, where pods share no disk."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from iacq.errors import NotFound
from iacq.store.schema import blobs
from iacq.store.session import Database

PART = 1024 * 1024
"""Bytes of one row."""


_GET = sa.select(blobs.c.data).where(blobs.c.key == sa.bindparam("of")).order_by(blobs.c.part)
_CUT = blobs.delete().where(blobs.c.key == sa.bindparam("of"), blobs.c.part >= sa.bindparam("parts"))


class DatabaseArtifacts:
    """Sealed bytes in rows of 1 MiB; implements `ports.ArtifactStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        row = (sqlite.insert if database.is_sqlite else postgresql.insert)(blobs)
        self._put = row.on_conflict_do_update(index_elements=["key", "part"], set_={"data": row.excluded.data})

    def put(self, key: str, sealed: bytes) -> None:
        """Store durably; replaces what was there. A second writer waits at the first part for the other's commit."""
        starts = range(0, max(len(sealed), 1), PART)
        with self._database.transaction() as tx:
            for part, start in enumerate(starts):
                tx.execute(self._put, {"key": key, "part": part, "data": sealed[start : start + PART]})
            tx.execute(_CUT, {"of": key, "parts": len(starts)})

    def get(self, key: str) -> bytes:
        """Return what was put. Raises NotFound."""
        with self._database.transaction(reading=True) as tx:
            parts = tx.execute(_GET, {"of": key}).scalars().all()
        if not parts:
            raise NotFound(f"artifact {key} is not stored")
        return b"".join(bytes(part) for part in parts)

    def delete(self, key: str) -> None:
        """Forget it."""
        with self._database.transaction() as tx:
            tx.execute(blobs.delete().where(blobs.c.key == key))
