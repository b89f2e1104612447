"""Bells that are only written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from iacq import messages
from iacq.errors import Unavailable
from iacq.messages import Doorbell, WarmupBell


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One message, as a broker would carry it."""

    queue: str
    task: str
    arguments: dict[str, Any] = field(default_factory=dict)


class RecordingDispatcher:
    """Implements `ports.Dispatcher`. `away`: the broker does not answer."""

    def __init__(self) -> None:
        self.away = False
        self.rung: list[Rung] = []
        self.bells: list[Doorbell] = []

    def ring(self, doorbell: Doorbell) -> None:
        """Tell a slot to look at a run."""
        arguments = {
            "run_id": doorbell.run_id,
            "phase": doorbell.phase.value,
            "attempt": doorbell.attempt,
        }
        self._send(doorbell.queue, messages.PHASE_TASKS[doorbell.phase], arguments)
        self.bells.append(doorbell)

    def ring_warmup(self, bell: WarmupBell) -> None:
        """Tell a slot to prepare a run."""
        self._send(bell.queue, messages.WARMUP, {"run_id": bell.run_id, "retry": bell.retry})

    def ring_control(self, task: str) -> None:
        """Tell a control worker to do one of its jobs now."""
        self._send(messages.CONTROL_QUEUE, task, {})

    def ring_agent(self, pod_name: str, task: str, **arguments: int | str) -> None:
        """Tell a pod's housekeeping node."""
        self._send(messages.agent_queue(pod_name), task, dict(arguments))

    def ring_slot(self, queue: str, task: str) -> None:
        """Ask a slot to answer."""
        self._send(queue, task, {})

    def pods_with_queues(self) -> set[str]:
        """Return the pods that something was sent to."""
        self._require_broker()
        return {rung.queue.rpartition(".")[0] for rung in self.rung if rung.queue != messages.CONTROL_QUEUE}

    def forget_pod(self, pod_name: str) -> bool:
        """Forget what was sent to a pod."""
        self._require_broker()
        self.rung[:] = [rung for rung in self.rung if rung.queue.rpartition(".")[0] != pod_name]
        return True

    def warm(self) -> None:
        """Connect now."""
        self._require_broker()

    def close(self) -> None:
        """Nothing is open."""

    def _send(self, queue: str, task: str, arguments: dict[str, Any]) -> None:
        self._require_broker()
        self.rung.append(Rung(queue=queue, task=task, arguments=arguments))

    def _require_broker(self) -> None:
        if self.away:
            raise Unavailable("the broker does not answer: it is away", code="broker_unavailable")
