"""Pods on this machine: wanted by files in HOME, made real by the host that `iacq up` or `iacq worker pods` runs."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from iacq.adapters.local_pods.files import PodFiles
from iacq.adapters.programs.up_lock import UpLock
from iacq.domain import fields
from iacq.errors import InvalidInput, Unavailable
from iacq.ports import PodPhase, PodSpec, PresentPod
from iacq.settings import Settings

HOST_LOCK = "pods.lock"


class LocalPodRuntime:
    """Implements `ports.PodRuntime`. It does not answer while there is no host, or that stops: nobody would obey."""

    def __init__(self, settings: Settings) -> None:
        self._files = PodFiles(settings.home)
        self._host = UpLock(settings.home, HOST_LOCK)

    @functools.cached_property
    def identity(self) -> str:
        """Name this HOME on this machine."""
        return self._files.identity()

    def create(self, spec: PodSpec) -> None:
        """Write that it is wanted."""
        self._require_host()
        environment(spec)
        self._files.add(spec)

    def delete(self, name: str, *, uid: str | None = None) -> None:
        """Write that it is not wanted any more."""
        self._require_host()
        found = self._files.wanted().get(name)
        if found is not None and uid in (None, found.uid):
            self._files.mark_for_deletion(name)

    def mark(self, name: str, *, uid: str, in_use: bool) -> None:
        """Do nothing: nobody else moves pods of this machine."""

    def present(self, expected: Collection[str] = ()) -> list[PresentPod]:  # noqa: ARG002 - the files are the truth
        """Return what is wanted, or not gone yet, with what the host says of it."""
        self._require_host()
        return [self._present(name, pod.uid) for name, pod in self._files.wanted().items()]

    def _present(self, name: str, uid: str) -> PresentPod:
        state = self._files.state(name)
        phase = PodPhase.STOPPING if self._files.is_to_go(name) else state.phase
        return PresentPod(name=name, uid=uid, phase=phase, reason=state.reason, started_at=state.started_at)

    def _require_host(self) -> None:
        if not self._host.is_held() or self._files.is_stopping():
            raise Unavailable(
                "nobody runs pods on this machine",
                hint="start `iacq up` or `iacq worker pods`; IACQ_POD_RUNTIME=none if pods are started by hand",
                code="no_pod_host",
            )


def environment(spec: PodSpec) -> dict[str, str]:
    """Return what a pool's template adds to the environment of its agents. Raises InvalidInput."""
    template: dict[str, Any] = {**(spec.template or {})}
    found = fields.mapping(template.pop("environment", {}), "template.environment")
    if template:
        raise InvalidInput(
            f"the template of pool {spec.pool} says {', '.join(sorted(map(ascii, template)))}, "
            "and pods on this machine have an environment only",
            field="template",
            hint='write {"environment": {"NAME": "value"}}',
        )
    return {name: fields.text(value, f"template.environment.{name}") for name, value in found.items()}
