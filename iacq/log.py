"""Logging: one line per event, with the ids of what it is about."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

_REMEMBERED = 1000
"""Things of which it is known when they were last spoken of."""


def get(name: str) -> logging.Logger:
    """Return the logger of a module."""
    return logging.getLogger(name)


def ids(**values: Any) -> dict[str, Any]:
    """Build the `extra` of a log call: ids that the formatters append (`run`, `slot`, `pod`, ...)."""
    return {"iacq_ids": {name: value for name, value in values.items() if value is not None}}


class Rarely:
    """Says yes once in a while for each thing, so that what goes wrong every second is not logged every second."""

    def __init__(self, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        """every: seconds."""
        self._every, self._clock = every, clock
        self._said: dict[object, float] = {}
        self._lock = threading.Lock()

    def __call__(self, what: object) -> bool:
        """Tell whether to speak of this now."""
        with self._lock:
            now = self._clock()
            if what in self._said and now - self._said[what] < self._every:
                return False
            if len(self._said) >= _REMEMBERED:
                self._said.clear()
            self._said[what] = now
            return True


class TextFormatter(logging.Formatter):
    """`time LEVEL message  run=42 slot=1`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        line = super().format(record)
        found: dict[str, Any] = getattr(record, "iacq_ids", {})
        return line + "".join(f"  {name}={value}" for name, value in found.items())


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        found: dict[str, Any] = getattr(record, "iacq_ids", {})
        entry = {
            "at": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **found,
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def set_up(log_format: str, level: int = logging.INFO) -> None:
    """Send every record to stderr in the chosen format: `text` or `json`."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter() if log_format == "json" else TextFormatter("%(asctime)s %(levelname)-7s %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # A line for each message received and each task that succeeded would hide what happened.
    for name in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(name).setLevel(logging.WARNING)
