"""How soon something happens: a plan starts, a line is seen, a cancel arrives."""

import time
from collections.abc import Iterator

from iacq.domain.run import Status
from tests.bench.figure import Figure, quantile
from tests.bench.system import Space, System

_PLANS = 50
_CANCELS = 15
_LINES = 40
_FIRST = 3

_TALKS = f"for ((i = 0; i < {_LINES}; i++)); do echo $EPOCHREALTIME; read -t 0.13 <> <(:); done\n"
_HANGS = "trap 'say interrupted; exit 1' INT; say waits; sleep 60 & wait\n"


def measure(space: Space) -> Iterator[Figure]:
    with space.system() as system:
        system.workspace("quiet", {"main.tf": ""})
        system.workspace("talks", {"main.tf": "", "plan.sh": _TALKS})
        system.workspace("hangs", {"main.tf": "", "plan.sh": _HANGS})
        starts = [_start(system) for _ in range(_FIRST + _PLANS)][_FIRST:]
        yield Figure(name="enqueue_to_terraform_p50", value=quantile(starts, 0.5), unit="ms", goal=50)
        lines = _follow(system)
        yield Figure(name="output_to_logs_p50", value=quantile(lines, 0.5), unit="s", goal=None)
        yield Figure(name="output_to_logs_worst", value=max(lines), unit="s", goal=0.3)
        cancels = [_cancel(system) for _ in range(_CANCELS)]
        yield Figure(name="cancel_to_sigint_p50", value=quantile(cancels, 0.5), unit="s", goal=None)
        yield Figure(name="cancel_to_sigint_worst", value=max(cancels), unit="s", goal=1)


def _start(system: System) -> float:
    """From the call of enqueue to the first command of the plan phase, which is init."""
    began = time.time()
    run = system.client.enqueue("quiet", "plan")
    started = system.spy.first(run.id, "init").at
    system.wait(run, Status.SUCCESS)
    return (started - began) * 1000


def _follow(system: System) -> list[float]:
    run = system.client.enqueue("talks", "plan")
    lines = ((time.time(), line.text) for line in system.client.logs(run.id, follow=True))
    return [at - float(text) for at, text in lines if text.replace(".", "").isdigit()]


def _cancel(system: System) -> float:
    run = system.client.enqueue("hangs", "plan")
    system.spy.first(run.id, "waits")
    began = time.time()
    system.client.cancel(run.id)
    interrupted = system.spy.first(run.id, "interrupted").at
    system.wait(run, Status.CANCELLED)
    return interrupted - began
