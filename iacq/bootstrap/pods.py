"""What runs pods: the runtime that the setting names, its manager, and the host of pods on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from iacq.adapters.local_pods import runtime as local_pods
from iacq.adapters.local_pods.runtime import LocalPodRuntime
from iacq.adapters.programs.interrupting import signals_as_interrupt
from iacq.adapters.programs.supervised_program import Program
from iacq.ports import PodRuntime, PodSpec
from iacq.settings import Settings

if TYPE_CHECKING:
    from iacq.adapters.local_pods.host import PodHost
    from iacq.services.core import Core
    from iacq.services.pod_manager import PodManager

_AFTER_GRACE = 10.0
"""Seconds more than its own grace that an agent gets before it is killed: it kills what is left by itself."""
_OF_ONE_SLOT = ("POD_NAME", "POOL_ID", "SLOT_ID")


def runtime(settings: Settings) -> PodRuntime | None:
    """Build what IACQ_POD_RUNTIME names; None: pods are started by hand."""
    if settings.pod_runtime == "kubernetes":
        from iacq.adapters.kubernetes.pods import KubernetesPodRuntime

        return KubernetesPodRuntime(settings)
    return None if settings.pod_runtime == "none" else LocalPodRuntime(settings)


def manager(core: Core) -> PodManager | None:
    """Build the manager of the pods; None: they are started by hand."""
    from iacq.services import scaling
    from iacq.services.pod_manager import PodManager

    found = runtime(core.settings)
    if found is None:
        return None
    return PodManager(core, found, scale=lambda manager, pool: scaling.scale(core, manager, pool))


def host(settings: Settings, say: Callable[[str], None]) -> PodHost:
    """Build the host of pods on this machine. say: gets a line for each thing that happens, from another thread."""
    from iacq.adapters.local_pods.host import PodHost

    return PodHost(settings, make_program=lambda spec: _agent(settings, spec), say=say)


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Host pods until ^C or SIGTERM, then stop their agents. Raises Conflict if there is another host."""
    with signals_as_interrupt(), host(settings, say) as serving, contextlib.suppress(KeyboardInterrupt):
        serving.wait()


def _agent(settings: Settings, spec: PodSpec) -> Program:
    arguments = ("--pod-name", spec.name, "--pool", spec.pool, "--slots", str(spec.slots), "--managed")
    found = program(settings, spec.name, "workers.agent", *arguments, grace=settings.stop_grace + _AFTER_GRACE)
    found = unmeasured(found)
    return dataclasses.replace(found, environment={**found.environment, **local_pods.environment(spec)})


def unmeasured(program: Program) -> Program:
    """Let a program serve no metrics: one address can be listened on once, and here it is the control worker's."""
    return dataclasses.replace(program, environment={**program.environment, "IACQ_METRICS_ADDRESS": "off"})


def program(settings: Settings, name: str, module: str, *arguments: str, grace: float = 10.0) -> Program:
    """Describe one of iacq's programs, with its log in HOME."""
    return Program(
        name=name,
        argv=(sys.executable, "-P", "-m", module, *arguments),
        environment=_environment(settings, os.environ),
        log=settings.home / "log" / f"{name}.log",
        grace=grace,
    )


def _environment(settings: Settings, ours: Mapping[str, str]) -> dict[str, str]:
    """Hand on this process's environment: the programs read their settings as this one did."""
    kept = {name: value for name, value in ours.items() if name not in _OF_ONE_SLOT}
    return {**kept, "IACQ_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}
