"""`iacq metrics`."""

from __future__ import annotations

from typing import Any

import click

from iacq.cli import output
from iacq.cli.app import App
from iacq.cli.command import Command, pass_app
from iacq.domain.metrics import CATALOGUE, HISTOGRAM, Metric, Sample


@click.command(cls=Command, example="iacq metrics")
@pass_app
def metrics(app: App) -> None:
    """Print the metrics once, as Prometheus reads them. With IACQ_METRICS_ADDRESS set, processes serve them.

    They come from the database; counters grow while a control worker runs.
    """
    from iacq.bootstrap import measured

    found = measured.measure(app.settings)
    if app.as_json:
        output.emit([_to_json(metric) for metric in found])
    else:
        output.line(measured.render(found).rstrip("\n"))


def _to_json(metric: Metric) -> dict[str, Any]:
    what = CATALOGUE[metric.name]
    return {
        "name": metric.name,
        "type": what.kind,
        "meaning": what.meaning,
        "samples": [
            {
                "labels": dict(zip(what.labels, sample.labels, strict=True)),
                **(_histogram(sample) if what.kind == HISTOGRAM else {"value": sample.value}),
            }
            for sample in metric.samples
        ],
    }


def _histogram(sample: Sample) -> dict[str, Any]:
    return {"sum": sample.value, "count": sample.buckets[-1][1], "buckets": dict(sample.buckets)}
