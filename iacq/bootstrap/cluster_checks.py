"""What runs need of a cluster, looked at one by one, for `iacq doctor` with IACQ_POD_RUNTIME=kubernetes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TypeVar

from iacq import bootstrap
from iacq.adapters.broker import limits as broker_limits
from iacq.adapters.clock import SystemClock
from iacq.adapters.kubernetes import rights
from iacq.adapters.kubernetes.api import KubernetesApi
from iacq.adapters.kubernetes.pods import KubernetesPodRuntime
from iacq.domain import sizing
from iacq.domain.pool import Pool
from iacq.errors import Conflict, InvalidInput, Unavailable
from iacq.ports import PodSpec
from iacq.settings import Settings
from iacq.store import counts, limits, pools
from iacq.store.session import Transaction

T = TypeVar("T")

_SKEW_MS = 10_000
"""Clocks that differ by more are told: leases use one clock only, but what people read would be wrong."""
_NOBODY = "doctor-dry-run"


def _cluster(settings: Settings) -> str:
    with contextlib.closing(KubernetesPodRuntime(settings)) as runtime:
        identity = runtime.identity
    with contextlib.closing(KubernetesApi(settings)) as api:
        version = api.call("GET", "/version").body.get("gitVersion", "of no version")
        return f"Kubernetes {version} answers; pods are in namespace {api.namespace} ({identity})"


def _rights(settings: Settings) -> str:
    owner = settings.pod_owner
    needed = rights.NEEDED + ((dataclasses.replace(rights.OF_OWNER, name=owner),) if owner else ())
    with contextlib.closing(KubernetesApi(settings)) as api:
        missing = rights.find_missing(api, needed)
        if missing:
            raise Unavailable(
                f"iacq has no right to {', '.join(map(str, missing))} in namespace {api.namespace}",
                hint="add what is missing to the Role of its service account",
            )
    return f"all {len(needed)} that are needed"


def _templates(settings: Settings) -> str:
    """Let the cluster check a pod of every pool."""
    found = _read(settings, pools.listed)
    wrong: list[str] = []
    with contextlib.closing(KubernetesPodRuntime(settings)) as runtime:
        for pool in found:
            try:
                runtime.check(_spec(pool))
            except (InvalidInput, Conflict) as error:
                wrong.append(f"{pool.name}: {error.message}")
    if wrong:
        raise Unavailable("; ".join(wrong), hint="`iacq pool update POOL --template FILE`")
    return f"a pod of each of {len(found)} pools would be accepted"


def _clocks(settings: Settings) -> str:
    clock = SystemClock()
    with contextlib.closing(KubernetesApi(settings)) as api:
        said = api.call("GET", "/version").date
        here = clock.now_ms()
    cluster = int(parsedate_to_datetime(said).timestamp() * 1000) + 500 if said else here  # it tells whole seconds
    database = _read(settings, counts.now_ms)
    skews = {"cluster": cluster - here, "database": database - clock.now_ms()}
    text = ", ".join(f"{name} {skew / 1000:+.1f} s" for name, skew in skews.items())
    if max(map(abs, skews.values())) > _SKEW_MS:
        raise Unavailable(f"clocks differ from the one here: {text}", hint="let NTP set the clocks of all machines")
    return f"those of others differ from the one here: {text}"


def _connections(settings: Settings) -> str:
    """Compare what all pools at their maximum open with what is allowed."""
    needed = sizing.count_connections(pool.policy for pool in _read(settings, pools.listed))
    parts = (
        ("PostgreSQL", "max_connections", needed.database, _read(settings, limits.connections)),
        ("Redis", "maxclients", needed.broker, broker_limits.connections(settings) if settings.broker_url else None),
    )
    for name, option, most, allowed in parts:
        if allowed is not None and most > allowed:
            raise Unavailable(
                f"all pools at their maximum open up to {most} connections to {name}, which allows {allowed}",
                hint=f"raise {option} of {name}, put a pooler before it, or lower --max of a pool",
            )
    return "; ".join(
        f"{name}: up to {most} of {'unknown' if allowed is None else allowed}" for name, _, most, allowed in parts
    )


def _spec(pool: Pool) -> PodSpec:
    return PodSpec(
        name=_NOBODY,
        pool=pool.name,
        slots=pool.policy.slots_per_pod,
        generation=pool.generation,
        template=pool.template,
    )


def _read(settings: Settings, question: Callable[[Transaction], T]) -> T:
    core = bootstrap.client_core(settings)
    with contextlib.closing(core.database):
        return core.database.read(question)


LOOKS: Mapping[str, Callable[[Settings], str]] = {
    "cluster": _cluster,
    "rights": _rights,
    "templates": _templates,
    "clocks": _clocks,
    "connections": _connections,
}
"""By name, in order."""
