"""Messages that were refused: counted by reason, and said in a log without flooding it."""

from __future__ import annotations

import enum
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

from iacq import log

logger = log.get(__name__)

_SAY_EVERY = 10.0
"""Seconds between two lines about the same reason."""


class Reason(enum.StrEnum):
    """Why a message was refused."""

    NOT_JSON = "not_json"
    ENVELOPE = "envelope"  # JSON, but not a Celery message
    CONTENT_TYPE = "content_type"  # pickle, yaml, compressed, ...
    TOO_LARGE = "too_large"
    SCHEDULED = "scheduled"  # has an eta: it would wait in the worker's memory
    NEWER_VERSION = "newer_version"  # of a newer iacq: this one would not understand it
    TASK = "task"  # nothing that this worker does
    ARGUMENTS = "arguments"  # not those of the task
    FAILED = "failed"  # looked well, and Celery stumbled over it


class Refusals:
    """Counts in one process. Safe in threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rarely = log.Rarely(_SAY_EVERY, clock)
        self._lock = threading.Lock()
        self._counts: Counter[Reason] = Counter()

    @property
    def counts(self) -> Mapping[Reason, int]:
        """Return how many were refused since the process began, by reason."""
        with self._lock:
            return dict(self._counts)

    def add(self, reason: Reason, queue: str) -> None:
        """Count one. What it held is never logged: it may be secret, huge, or made to deceive a reader."""
        with self._lock:
            self._counts[reason] += 1
            so_far = self._counts[reason]
        if self._rarely(reason):
            logger.warning("refused a message: %s (%d so far)", reason, so_far, extra=log.ids(queue=queue))
