"""What happened to runs and pods since one last looked."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence

from iacq.cli import output, wording
from iacq.client import Client
from iacq.domain import transitions
from iacq.domain.run import Run, Status
from iacq.domain.slot import Pod, PodStatus
from iacq.errors import Unavailable
from iacq.services import views
from iacq.store.runs import Event

_LATEST = 100
"""Runs that are looked at: the newest ones, and all that have not ended."""


class Happening:
    """Looks at the database again and again, and tells each change of state once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._away = False
        runs = self._runs()
        self._seen = {run.id: len(client.events(run.id)) for run in runs.values()}
        self._known = runs
        self.pods = self._pods()
        self.unended = sum(run.status not in transitions.ENDED for run in runs.values())

    @property
    def online(self) -> Mapping[str, Pod]:
        """The pods that get work."""
        return {name: pod for name, pod in self.pods.items() if pod.status is PodStatus.ONLINE}

    def news(self) -> Iterator[dict[str, str | int | None]]:
        """Yield what happened since the last call; a database that is away is said once."""
        try:
            runs = self._runs()
            changed = [run for run in sorted(runs.values(), key=lambda run: run.id) if run != self._known.get(run.id)]
            fresh = [(run, event) for run in changed for event in self._fresh(run)]
            pods = self._pods()
        except Unavailable as error:
            if not self._away:
                output.warn(error.message)
            self._away = True
            return
        before, self.pods = self.pods, pods
        self._away, self._known = False, runs
        for name in sorted({*before, *pods}):
            if name not in pods or name not in before or pods[name].status is not before[name].status:
                yield _pod_to_json(name, pods.get(name))
        for run, event in fresh:
            yield _to_json(run, event)

    def _pods(self) -> Mapping[str, Pod]:
        return {pod.name: pod for pod in self._client.pods()}

    def _runs(self) -> dict[int, Run]:
        latest = self._client.list(limit=_LATEST)
        unended = self._client.list(status=set(Status) - transitions.ENDED, limit=None)
        return {run.id: run for run in (*latest, *unended)}

    def _fresh(self, run: Run) -> Sequence[Event]:
        events = self._client.events(run.id)
        seen, self._seen[run.id] = self._seen.get(run.id, 0), len(events)
        return events[seen:]


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


def _to_json(run: Run, event: Event) -> dict[str, str | int | None]:
    return {
        **_times(event.at),
        "run": run.id,
        "workspace": run.workspace,
        "status": event.target,
        "cause": event.cause,
        "where": wording.place(run) if event.target in transitions.RUNNING else None,
    }
