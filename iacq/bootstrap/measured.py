"""Metrics as text, and the servers of control workers and agents."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from iacq import bootstrap
from iacq.domain.metrics import Metric, Sample
from iacq.services import measuring
from iacq.services.core import Core
from iacq.settings import Settings

if TYPE_CHECKING:
    from iacq.adapters.messaging.refusals import Refusals
    from iacq.adapters.prometheus import Page


def measure(settings: Settings) -> list[Metric]:
    """Read every metric of the control plane. Raises Unavailable."""
    return measuring.measure(bootstrap.client_core(settings))


def render(metrics: list[Metric]) -> str:
    """Write metrics in Prometheus' text format."""
    from iacq.adapters import prometheus

    return prometheus.render(metrics)


_BEAT_SILENT = 30.0
"""Seconds without a bell after which beat is not well: it rings every two."""


class Pulse:
    """Knows when something was done last."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._at = monotonic()
        self.heard = False

    def beat(self, **_: object) -> None:
        """It was done."""
        self._at = self._monotonic()
        self.heard = True

    def silent(self) -> float:
        """Seconds since then; before the first time, since the start."""
        return self._monotonic() - self._at


def serve_control(core: Core, refusals: Refusals, idle: Callable[[], float]) -> None:
    """Serve the metrics of the whole system and the health of the control plane, if a setting says where.

    idle: tells the seconds since this worker did a job. /livez is about this process only.
    """
    pages: dict[str, Page] = {
        "/metrics": lambda: (200, render([*measuring.measure_or_say_down(core), _refused(refusals)])),
        "/healthz": lambda: _health(measuring.find_faults(core)),
        "/livez": lambda: _health(measuring.find_deafness(core, idle())),
    }
    _serve(core.settings, pages)


def serve_beat(settings: Settings, silent: Callable[[], float]) -> None:
    """Serve the health of beat, if a setting says where. silent: tells the seconds since it rang."""
    _serve(settings, {"/healthz": lambda: _health(_faults_of_beat(silent()))})


def serve_agent(core: Core, refusals: Refusals, silent: Callable[[], float]) -> None:
    """Serve a pod's own metrics and its health, if a setting says where.

    silent: tells the seconds since its last heartbeat was written.
    """
    settings = core.settings
    pages: dict[str, Page] = {
        "/metrics": lambda: (200, render([_refused(refusals), *_of_pod(silent(), settings.work_root)])),
        "/healthz": lambda: _health(_faults_of_pod(silent(), settings.agent_offline)),
    }
    _serve(settings, pages)


def _serve(settings: Settings, pages: Mapping[str, Page]) -> None:
    if settings.metrics_address is None:
        return
    from iacq.adapters import prometheus

    prometheus.serve(settings.metrics_address, pages)


def _refused(refusals: Refusals) -> Metric:
    counts = sorted(refusals.counts.items())
    samples = tuple(Sample(labels=(reason,), value=number) for reason, number in counts)
    return Metric(name="iacq_messages_refused_total", samples=samples)


def _of_pod(silent: float, work: Path) -> list[Metric]:
    directory = next(path for path in (work, *work.parents) if path.exists())
    disk = shutil.disk_usage(directory)
    values = {
        "iacq_agent_silent_seconds": silent,
        "iacq_work_free_bytes": disk.free,
        "iacq_work_size_bytes": disk.total,
    }
    return [Metric(name=name, samples=(Sample(labels=(), value=value),)) for name, value in values.items()]


def _faults_of_pod(silent: float, longest: float) -> list[str]:
    return [f"no heartbeat was written for {silent:.0f} s"] if silent > longest else []


def _faults_of_beat(silent: float) -> list[str]:
    return [f"no bell was rung for {silent:.0f} s"] if silent > _BEAT_SILENT else []


def _health(faults: list[str]) -> tuple[int, str]:
    return (503, "".join(f"{fault}\n" for fault in faults)) if faults else (200, "ok\n")
