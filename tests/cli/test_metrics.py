"""`iacq metrics` and the refusals of `iacq flower`; what Flower shows: tests/acceptance/test_flower.py."""

import json
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from iacq.domain.metrics import CATALOGUE
from tests.cli.conftest import Iacq


def test_metrics_are_printed_as_text_and_json(iacq: Iacq, sqlite_url: str) -> None:
    env = {"IACQ_DATABASE_URL": sqlite_url}
    text = iacq(None, "metrics", env=env)
    assert text.exit_code == 0, text.output
    families = {family.name: family for family in text_string_to_metric_families(text.stdout)}
    assert families["iacq_database_up"].samples[0].value == 1
    shown = json.loads(iacq(None, "metrics", "--json", env=env).stdout)
    assert {metric["name"] for metric in shown} <= set(CATALOGUE)
    (bells,) = (metric for metric in shown if metric["name"] == "iacq_outbox_bells")
    assert bells["samples"] == [{"labels": {}, "value": 0}]


def test_without_a_database_there_are_no_metrics(iacq: Iacq) -> None:
    away = iacq(None, "metrics", env={"IACQ_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    assert away.exit_code == 5
    assert away.stderr.startswith("Error: the database does not answer")


def test_flower_is_not_opened_to_strangers(iacq: Iacq) -> None:
    refused = iacq(None, "flower", "--address", "0.0.0.0", "--port", "1234", "--json")
    assert refused.exit_code == 2
    assert json.loads(refused.stdout)["error"]["field"] == "IACQ_FLOWER_ADDRESS"
    assert "0.0.0.0:1234" in refused.stderr
    assert "--basic-auth-file" in refused.stderr


def test_a_file_that_names_nobody_is_refused(iacq: Iacq, tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.write_text("alice\n")
    refused = iacq(None, "flower", "--address", "::", "--basic-auth-file", str(people))
    assert refused.exit_code == 2
    assert "written user:password" in refused.stderr
    assert "alice" not in refused.stderr


def test_addresses_are_checked(iacq: Iacq, sqlite_url: str) -> None:
    for address in ("5555", "host", "host:0", "host:99999", "a b:1"):
        refused = iacq(None, "metrics", env={"IACQ_METRICS_ADDRESS": address, "IACQ_DATABASE_URL": sqlite_url})
        assert refused.exit_code == 2, address
        assert "IACQ_METRICS_ADDRESS" in refused.stderr
    assert iacq(None, "metrics", env={"IACQ_METRICS_ADDRESS": "off", "IACQ_DATABASE_URL": sqlite_url}).exit_code == 0
