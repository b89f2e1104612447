"""A runtime whose pods are entries in a dictionary; the test says what becomes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from iacq.errors import Unavailable
from iacq.ports import PodPhase, PodSpec, PresentPod


class FakePodRuntime:
    """Implements `ports.PodRuntime`. `away`: it does not answer. `refuses`: raised by the next `create` calls.

    `unseen`: pods of which the list has not heard yet. `marks`: how often pods were marked. A pod that is deleted is
    STOPPING until `vanish`, as a real one needs its time; with `prompt` it is gone at once.
    """

    def __init__(self, *, identity: str = "fake", prompt: bool = False) -> None:
        self.identity = identity
        self.away = False
        self.refuses: Exception | None = None
        self.prompt = prompt
        self.specs: dict[str, PodSpec] = {}
        self.pods: dict[str, PresentPod] = {}
        self.unseen: set[str] = set()
        self.marks = 0
        self._made = 0

    def create(self, spec: PodSpec) -> None:
        """Make the pod: it is STARTING."""
        self._answer()
        if self.refuses is not None:
            raise self.refuses
        if spec.name not in self.pods:
            self._made += 1
            self.specs[spec.name] = spec
            self.pods[spec.name] = PresentPod(
                name=spec.name, uid=f"uid-{self._made}", phase=PodPhase.STARTING, in_use=True
            )

    def delete(self, name: str, *, uid: str | None = None) -> None:
        """Let it go."""
        self._answer()
        found = self.pods.get(name)
        if found is None or uid not in (None, found.uid):
            return
        if self.prompt:
            self.vanish(name)
        else:
            self.change(name, phase=PodPhase.STOPPING)

    def mark(self, name: str, *, uid: str, in_use: bool) -> None:
        """Write whether runs need the pod."""
        self._answer()
        found = self.pods.get(name)
        if found is not None and found.uid == uid:
            self.marks += 1
            self.pods[name] = dataclasses.replace(found, in_use=in_use)

    def present(self, expected: Collection[str] = ()) -> list[PresentPod]:
        """Return what there is; `unseen` pods only to whoever expects them."""
        self._answer()
        return [pod for pod in self.pods.values() if pod.name not in self.unseen or pod.name in expected]

    def change(self, name: str, *, phase: PodPhase, reason: str | None = None, started_at: int | None = None) -> None:
        """Let something become of a pod."""
        self.pods[name] = dataclasses.replace(
            self.pods[name], phase=phase, reason=reason, started_at=started_at or self.pods[name].started_at
        )

    def vanish(self, name: str) -> None:
        """Let it be gone."""
        del self.pods[name]

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the pod runtime does not answer: it is away", code="runtime_unavailable")
