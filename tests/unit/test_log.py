import json
import logging
import sys

from iacq import log


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("iacq.x", logging.WARNING, __file__, 1, message, (), None)
    made.__dict__.update(log.ids(**extra))
    return made


def test_text_ends_with_the_ids() -> None:
    shown = log.TextFormatter("%(levelname)s %(message)s").format(record("claimed", run=4, slot="pod1.2"))
    assert shown == "WARNING claimed  run=4  slot=pod1.2"


def test_json_has_the_ids_as_keys() -> None:
    entry = json.loads(log.JsonFormatter().format(record("claimed", run=4, pod=None)))
    assert entry.pop("at")
    assert entry == {"level": "warning", "logger": "iacq.x", "message": "claimed", "run": 4}


def test_json_of_a_foreign_record_and_an_exception() -> None:
    try:
        json.loads("{")
    except ValueError:
        made = logging.LogRecord("celery", logging.ERROR, __file__, 1, "%s failed", ("it",), sys.exc_info())
    entry = json.loads(log.JsonFormatter().format(made))
    assert entry["message"] == "it failed"
    assert "JSONDecodeError" in entry["exception"]
