"""docs/metrics.md says what the code serves."""

import re
from pathlib import Path

from iacq.domain.metrics import CATALOGUE

DOCS = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def test_every_metric_is_documented_as_it_is() -> None:
    for name, what in CATALOGUE.items():
        labels = f" {', '.join(what.labels)}" if what.labels else ""
        assert f"| `{name}` | {what.kind} |{labels} | {what.meaning} |" in DOCS, name


def test_rules_name_metrics_that_exist() -> None:
    named = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\biacq_[a-z_]+", DOCS)}
    assert named == set(CATALOGUE)
