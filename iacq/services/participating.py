"""Whether this version may take part, and the end of an upgrade: from then on, nothing older may."""

from __future__ import annotations

from iacq.domain import versions
from iacq.errors import Conflict
from iacq.store import participation
from iacq.store.session import Database


def require(database: Database) -> None:
    """Raise Conflict(code=too_old) if the database demands a newer version than this; Unavailable."""
    why = versions.too_old(versions.PROTOCOL, database.read(participation.demanded))
    if why is not None:
        raise Conflict(
            f"this iacq is too old for its database: {why}",
            field="IACQ_DATABASE_URL",
            hint="start the version that the database was upgraded with",
            code="too_old",
        )


def require_nothing_older(database: Database, *, silence_ms: int) -> None:
    """Raise Conflict(code=older_running) while something older than this version is heard; Unavailable.

    silence_ms: what was not heard for so long is not there.
    """
    older = database.read(participation.heard_older, versions.PROTOCOL, ms=silence_ms)
    if older:
        raise Conflict(
            f"an older version is still running: {', '.join(older)}",
            hint="replace control workers, roll (`iacq pool roll`) or drain the pods, and repeat when they are gone",
            code="older_running",
        )


def demand_this(database: Database) -> bool:
    """Let nothing older than this version take part from now on; tells whether that is new. Raises Unavailable."""
    return bool(database.attempt(participation.demand, versions.PROTOCOL))  # another process may be faster
