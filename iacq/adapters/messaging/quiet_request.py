"""A Celery message as others may see it: in events, in `celery inspect`, in Flower.

What leaves the worker is made harmless here, at its source, so that it does not matter who listens on the broker.
"""

from __future__ import annotations

from typing import Any

from celery.app.task import Task
from celery.worker.request import Request

from iacq import messages
from iacq.errors import PhaseFailed


class QuietRequest(Request):  # type: ignore[misc] # Celery has no types
    """Shows a doorbell's own words (`run 42 plan network`) and of other messages nothing but their name."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._argsrepr = ""
        self._kwargsrepr = messages.presentable(self.request_dict.get("kwargsrepr"))

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: ARG002 - Celery's signature; the raw arguments are never told
        """Describe the request for `inspect`."""
        described: dict[str, Any] = super().info(safe=True)
        return described

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send an event without results, and of an exception without what it says, unless it was made for readers.

        A job that sends no events (beat's, every few seconds) still tells of its failure.
        """
        if "result" in fields:
            fields["result"] = ""
        if "exception" in fields:
            fields |= {"exception": _harmless(fields["exception"]), "traceback": None}
        if type == "task-failed" and not self.task.send_events and self.eventer and self.eventer.enabled:
            self.eventer.send(type, uuid=self.id, name=self.name, **fields)
            return
        super().send_event(type, **fields)


def _harmless(shown: str) -> str:
    """Keep the words of a failed phase; of anything else keep the class: a database error shows its parameters."""
    name = str(shown).partition("(")[0]
    return shown if name == PhaseFailed.__name__ else f"{name}: the log of its worker says more"


class QuietTask(Task):  # type: ignore[misc] # Celery has no types
    """The base of all tasks of a worker."""

    abstract = True
    Request = f"{QuietRequest.__module__}:{QuietRequest.__qualname__}"
