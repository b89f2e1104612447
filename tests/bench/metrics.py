"""One scrape, with many runs behind it and many that wait."""

import statistics
import time
from collections.abc import Iterator
from typing import Any

from iacq.adapters import prometheus
from iacq.domain import versions
from iacq.domain.run import RunType, Status
from iacq.services import measuring, tallying
from iacq.store import migrate
from iacq.store.schema import runs
from iacq.testing.core import make_core
from tests.bench.figure import Figure
from tests.bench.system import Space

_ENDED = 10_000
_WAITING = 300
_TIMES = 30
_TIMINGS = {
    phase: {"queue_wait": 12, "claim": 4, "prepare": 3, "init": 9000, "terraform": 800, "finish": 9, "total": 9900}
    for phase in ("plan", "apply")
}


def measure(space: Space) -> Iterator[Figure]:
    url = space.postgres or f"sqlite:///{space.directory / 'metrics.db'}"
    if not space.postgres:
        migrate.upgrade(url)
    core = make_core(url, space.directory)
    kind = "postgresql" if space.postgres else "sqlite"
    with core.database.transaction() as tx:
        tx.execute(runs.insert(), [_row(number) for number in range(_ENDED + _WAITING)])
    began = time.monotonic()
    if tallying.tally(core) != _ENDED:
        raise RuntimeError("not every ended run was counted")
    tallied = (time.monotonic() - began) / _ENDED * 1e6
    took = []
    for _ in range(_TIMES):
        began = time.monotonic()
        prometheus.render(measuring.measure(core))
        took.append((time.monotonic() - began) * 1000)
    core.database.close()
    yield Figure(name=f"metrics_scrape_{kind}", value=statistics.median(took), unit="ms", goal=100)
    yield Figure(name=f"metrics_scrape_worst_{kind}", value=max(took), unit="ms", goal=None)
    yield Figure(name=f"metrics_tally_{kind}", value=tallied, unit="us a run", goal=None)


def _row(number: int) -> dict[str, Any]:
    ended = number < _ENDED
    now = 1_800_000_000_000 + number
    return {
        "workspace_id": f"w{number % 100}",
        "task_type": RunType.PLAN_AND_APPLY,
        "status": (Status.APPLIED, Status.FAILED)[number % 2] if ended else Status.PENDING,
        "start_tier": "hot" if ended else None,
        "timings": _TIMINGS if ended else None,
        "fence": 1,
        "tallied": 0,
        "attempt": 0,
        "tries": 0,
        "pool": "default",
        "priority": 0,
        "auto_apply": False,
        "requested_by": "bench",
        "needs_protocol": versions.RUN_NEEDS,
        "created_ms": now,
        "queued_ms": now,
    }
