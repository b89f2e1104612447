"""What happened to runs and pods since one last looked."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping

from iacq.cli import output, wording
from iacq.client import Client
from iacq.domain import transitions
from iacq.domain.slot import Pod, PodStatus
from iacq.errors import Unavailable
from iacq.services import views
from iacq.store.happened import Happened


class Happening:
    """Looks at the database again and again, and tells each change of state once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._away = False
        self._news = client.news()
        self.pods = self._pods()
        self.unended = client.unended()

    @property
    def online(self) -> Mapping[str, Pod]:
        """The pods that get work."""
        return {name: pod for name, pod in self.pods.items() if pod.status is PodStatus.ONLINE}

    def news(self) -> Iterator[dict[str, str | int | None]]:
        """Yield what happened since the last call; a database that is away is said once."""
        try:
            pods = self._pods()
            fresh = self._news.fresh()
        except Unavailable as error:
            if not self._away:
                output.warn(error.message)
            self._away = True
            return
        self._away = False
        before, self.pods = self.pods, pods
        for name in sorted({*before, *pods}):
            if name not in pods or name not in before or pods[name].status is not before[name].status:
                yield _pod_to_json(name, pods.get(name))
        for happened in fresh:
            yield _to_json(happened)

    def _pods(self) -> Mapping[str, Pod]:
        return {pod.name: pod for pod in self._client.pods()}


def _pod_to_json(name: str, pod: Pod | None) -> dict[str, str | int | None]:
    """pod: None if it is not listed any more."""
    now = time.time_ns() // 1_000_000
    return {
        **_times(now if pod is None else pod.since),
        "pod": name,
        "status": "gone" if pod is None else pod.status,
        "reason": pod.reason if pod else None,
    }


def _times(at: int) -> dict[str, str | int | None]:
    local = dt.datetime.fromtimestamp(at / 1000, dt.UTC).astimezone()
    return {"at": views.rfc3339(at), "time": local.strftime("%H:%M:%S")}


def _to_json(happened: Happened) -> dict[str, str | int | None]:
    event = happened.event
    return {
        **_times(event.at),
        "run": happened.run,
        "workspace": happened.workspace,
        "status": event.target,
        "cause": event.cause,
        "where": wording.place(happened.queue) if event.target in transitions.RUNNING else None,
    }
