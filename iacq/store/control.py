"""Signs of life of control workers and of beat, so that a waiting run can say that nobody dispatches."""

from __future__ import annotations

import sqlalchemy as sa

from iacq.domain import versions
from iacq.store.schema import heartbeats
from iacq.store.session import Transaction

_OURS = "iacq."
"""How rows beside those of pods begin: pod names have no dot."""
_CONTROL = "iacq.control."
"""Of control workers, one row for each protocol that some speak (`domain.versions`)."""
_BEAT = "iacq.beat"


def is_pod(name: str) -> bool:
    """Tell whether a heartbeat is a pod's."""
    return not name.startswith(_OURS)


def beat(tx: Transaction, protocol: int = versions.PROTOCOL) -> None:
    """Say that a control worker is there."""
    _mark(tx, f"{_CONTROL}{protocol}")


def tick(tx: Transaction) -> None:
    """Say that a control worker heard beat."""
    _mark(tx, _BEAT)


def _mark(tx: Transaction, name: str) -> None:
    changed = tx.execute(heartbeats.update().where(heartbeats.c.pod_name == name).values(at_ms=tx.now))
    if changed.rowcount == 0:
        tx.execute(heartbeats.insert().values(pod_name=name, agent_id="control", at_ms=tx.now))


def seen_within(tx: Transaction, *, ms: int) -> bool:
    """Tell whether a control worker did something in the last `ms` milliseconds."""
    age, _ = silences(tx)
    return age is not None and age <= ms


def protocols(tx: Transaction, *, ms: int) -> set[int]:
    """Return what the control workers speak that did something in the last `ms` milliseconds."""
    return {
        int(name.removeprefix(_CONTROL))
        for name, age in _ages(tx).items()
        if name.startswith(_CONTROL) and name.removeprefix(_CONTROL).isdecimal() and age <= ms
    }


def silences(tx: Transaction) -> tuple[int | None, int | None]:
    """Return the ms since a control worker did something, and since one heard beat; None: never."""
    found = _ages(tx)
    control = [age for name, age in found.items() if name.startswith(_CONTROL)]
    return min(control, default=None), found.get(_BEAT)


def _ages(tx: Transaction) -> dict[str, int]:
    rows = tx.execute(
        sa.select(heartbeats.c.pod_name, (tx.now - heartbeats.c.at_ms).label("age")).where(
            heartbeats.c.pod_name.startswith(_OURS, autoescape=True)
        )
    )
    return {row.pod_name: max(0, row.age) for row in rows}
