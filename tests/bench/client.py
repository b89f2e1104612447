"""Calls of one client per second, beside an idle system: enqueue, get, confirm."""

import time
from collections.abc import Callable, Iterator

from iacq.domain.run import Status
from tests.bench.figure import Figure
from tests.bench.system import Space

_WARM_UP = 20
_CALLS = 300
_CONFIRMATIONS = 40


def measure(space: Space) -> Iterator[Figure]:
    kind = "postgresql" if space.postgres else "sqlite"
    with space.system() as system:
        client = system.client
        system.workspace("calls", {"main.tf": ""})
        client.lock_workspace("calls", reason="runs are enqueued, not dispatched")
        for _ in range(_WARM_UP):
            one = client.enqueue("calls", "destroy").id
        yield _rate(f"client_enqueue_{kind}", lambda: client.enqueue("calls", "destroy"), _CALLS)
        yield _rate(f"client_get_{kind}", lambda: client.get(one), _CALLS)
        system.workspace("confirmed", {"main.tf": ""})
        spent = 0.0
        for _ in range(_CONFIRMATIONS):
            run = system.planned("confirmed")
            began = time.monotonic()
            client.confirm(run.id, plan_hash=run.plan_hash or "")
            spent += time.monotonic() - began
            system.wait(run, Status.APPLIED)
        yield Figure(name=f"client_confirm_{kind}", value=_CONFIRMATIONS / spent, unit="1/s", goal=None, at_least=True)


def _rate(name: str, call: Callable[[], object], times: int) -> Figure:
    began = time.monotonic()
    for _ in range(times):
        call()
    return Figure(name=name, value=times / (time.monotonic() - began), unit="1/s", goal=None, at_least=True)
