"""The artifact store in PostgreSQL, where pods share no disk."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from iacq.errors import NotFound
from iacq.store.schema import blobs
from iacq.store.session import Database

PART = 1024 * 1024
"""Bytes of one row."""


_CUT = blobs.delete().where(blobs.c.key == sa.bindparam("of"), blobs.c.part >= sa.bindparam("parts"))

_PARTS = (
    sa.select(blobs.c.data)
    .where(blobs.c.key == sa.bindparam("of"), blobs.c.part.between(sa.bindparam("start"), sa.bindparam("end")))
    .order_by(blobs.c.part)
)

_AT_ONCE = 8
"""Rows of one statement. PostgreSQL's answer takes twice their size, and all of it is in memory."""


class DatabaseArtifacts:
    """Sealed bytes in rows of 1 MiB; implements `ports.ArtifactStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        row = (sqlite.insert if database.is_sqlite else postgresql.insert)(blobs)
        self._put = row.on_conflict_do_update(index_elements=["key", "part"], set_={"data": row.excluded.data})

    def put(self, key: str, sealed: bytes) -> None:
        """Store durably; replaces what was there. A second writer waits at the first part for the other's commit."""
        self.put_all({key: sealed})

    def put_all(self, sealed: Mapping[str, bytes]) -> None:
        """Store all in one transaction, in the order of their keys: two writers never wait for each other."""
        present = sorted(sealed)
        rows = (row for key in present for row in _rows(key, sealed[key]))
        with self._database.transaction() as tx:
            while some := list(itertools.islice(rows, _AT_ONCE)):
                tx.execute(self._put, some)
            tx.execute(_CUT, [{"of": key, "parts": len(_starts(sealed[key]))} for key in present])

    def get(self, key: str) -> bytes:
        """Return what was put. Raises NotFound."""
        found = io.BytesIO()
        count = 0
        with self._database.transaction(reading=True) as tx:
            more = True
            while more:
                parts = tx.execute(_PARTS, {"of": key, "start": count, "end": count + _AT_ONCE - 1}).scalars().all()
                found.writelines(parts)
                count += len(parts)
                more = len(parts) == _AT_ONCE
        if not count:
            raise NotFound(f"artifact {key} is not stored")
        return found.getvalue()

    def delete(self, key: str) -> None:
        """Forget it."""
        with self._database.transaction() as tx:
            tx.execute(blobs.delete().where(blobs.c.key == key))

    def keys(self, directory: str) -> list[str]:
        """Return every key below."""
        return list(self._database.read(lambda tx: tx.execute(_below(directory)).scalars()))


def _below(directory: str) -> sa.Select[tuple[str]]:
    # '0' comes after '/': what begins with "directory/" lies between the two. Both databases compare keys by bytes.
    wanted = sa.select(blobs.c.key).where(blobs.c.key > f"{directory}/", blobs.c.key < f"{directory}0")
    return wanted.distinct().order_by(blobs.c.key)


def _starts(sealed: bytes) -> range:
    return range(0, max(len(sealed), 1), PART)


def _rows(key: str, sealed: bytes) -> Iterator[dict[str, Any]]:
    for part, start in enumerate(_starts(sealed)):
        yield {"key": key, "part": part, "data": sealed[start : start + PART]}
