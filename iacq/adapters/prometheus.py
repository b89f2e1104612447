"""Metrics in Prometheus' text format, and the server that it scrapes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from iacq import log
from iacq.adapters import listening
from iacq.domain import metrics as described
from iacq.domain.metrics import Metric
from iacq.settings import split_endpoint

logger = log.get(__name__)

_KEEP = 1.0
"""Seconds for which an answer is given again: the database is asked once, however many scrape."""
_TIMEOUT = 5.0
"""Seconds that a client has for its request."""

Page = Callable[[], tuple[int, str]]
"""Makes a page: status code and text."""


def render(metrics: Iterable[Metric]) -> str:
    """Write metrics as text."""
    registry = CollectorRegistry()
    registry.register(_Once([_family(metric) for metric in metrics]))
    return generate_latest(registry).decode()


class _Once:
    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> list[Family]:
        return self._families


def _family(metric: Metric) -> Family:
    what = described.CATALOGUE[metric.name]
    arguments: Any = {"labels": what.labels}
    if what.kind == described.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, what.meaning, **arguments)
        for sample in metric.samples:
            histogram.add_metric(sample.labels, list(sample.buckets), sample.value)
        return histogram
    kind = CounterMetricFamily if what.kind == described.COUNTER else GaugeMetricFamily
    family = kind(metric.name, what.meaning, **arguments)
    for sample in metric.samples:
        family.add_metric(sample.labels, sample.value)
    return family


def serve(endpoint: str, pages: Mapping[str, Page]) -> None:
    """Serve pages by path in threads of this process, for as long as it lives.

    If nothing can listen there, that is logged, and the process goes on: its work matters more than its figures.
    """
    host, port = split_endpoint(endpoint)
    kept = {path: _kept(page) for path, page in pages.items()}

    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT

        def do_GET(self) -> None:
            page = kept.get(self.path.partition("?")[0])
            status, text = page() if page else (404, f"there is {' and '.join(pages)}\n")
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: somebody asks every few seconds."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Say nothing: whoever asked went away."""

    try:
        Server.address_family = listening.family(host, port)
        server = Server((host, port), Handler)
    except OSError as error:
        reason = listening.unavailable(endpoint, error, field="IACQ_METRICS_ADDRESS").message
        logger.error("no metrics: %s", reason)  # noqa: TRY400 - a traceback would tell no more
        return
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    logger.info("%s on %s", " and ".join(pages), endpoint)


def _kept(page: Page) -> Page:
    """Ask once at a time, and not again for a moment."""
    lock = threading.Lock()
    last: tuple[float, tuple[int, str]] | None = None

    def answer() -> tuple[int, str]:
        nonlocal last
        with lock:
            if last is None or time.monotonic() - last[0] > _KEEP:
                last = (time.monotonic(), _whole(page))
            return last[1]

    return answer


def _whole(page: Page) -> tuple[int, str]:
    try:
        return page()
    except Exception:  # whatever a page meets, the server goes on answering
        logger.exception("a page of the metrics server failed")
        return 500, "the log of this process says why\n"
