"""Pods in a Kubernetes cluster: created and deleted directly, known by a watch."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from iacq.adapters.clock import SystemClock
from iacq.adapters.kubernetes import status as kubernetes_status
from iacq.adapters.kubernetes.api import MERGE_PATCH, KubernetesApi, Refused
from iacq.adapters.kubernetes.watch import PodWatch
from iacq.domain import pod_manifest
from iacq.domain.pod_manifest import SAFE_TO_EVICT, WorkerPod
from iacq.errors import Conflict, InvalidInput, Unavailable
from iacq.ports import PodSpec, PresentPod
from iacq.settings import Settings

_AFTER_GRACE = 30
"""Seconds more than its own grace that an agent gets before its container is killed."""
SECRETS = ("IACQ_DATABASE_URL", "IACQ_BROKER_URL", "IACQ_ENCRYPTION_KEYS")
_NOT_FOR_PODS = frozenset(
    {
        "actor",
        "flower_address",
        "pod_runtime",
        "kubeconfig",
        "pod_namespace",
        "pod_image",
        "pod_secret",
        "pod_owner",
        "redis_server",
        "terraform",
    }
)
"""Settings of the control worker's own place, besides paths: agents have another one."""


class KubernetesPodRuntime:
    """Implements `ports.PodRuntime`."""

    def __init__(self, settings: Settings, api: KubernetesApi | None = None) -> None:
        """api: the cluster; else the one that the settings name."""
        self._settings = settings
        self._api = api or KubernetesApi(settings)
        self._watch = PodWatch(self._api, kubernetes_status.selector(settings.pod_secret))
        self._clock = SystemClock()

    @functools.cached_property
    def identity(self) -> str:
        """Name the namespace, which is another one if it was deleted and made anew, and this system in it."""
        try:
            found = self._api.call("GET", f"/api/v1/namespaces/{self._api.namespace}").body
        except Refused as error:
            raise self._unavailable(error, "get namespaces") from error
        return f"{found['metadata']['uid']}/{self._settings.pod_secret}"

    def create(self, spec: PodSpec) -> None:
        """Create it. What exists under its name is it: names are never used again."""
        self._post(spec)

    def check(self, spec: PodSpec) -> None:
        """Let the server check the pod that `create` would make. Raises as `create` does."""
        self._post(spec, dryRun="All")

    def delete(self, name: str, *, uid: str | None = None) -> None:
        """Let the cluster stop it, within the grace of its manifest."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            said = self._api.call("DELETE", self._path(name), body=options).body
        except Refused as error:
            if error.is_absence("pods", name):
                self._watch.forget(name)
            elif error.status != 409:  # that is another one of the same name
                raise self._unavailable(error, "delete pods") from error
            return
        if kubernetes_status.ending(said) is not None:
            self._watch.learn(said)
        else:
            self._watch.forget(name)

    def mark(self, name: str, *, uid: str, in_use: bool) -> None:
        """Write it where a cluster autoscaler looks."""
        change = {"metadata": {"uid": uid, "annotations": {SAFE_TO_EVICT: "false" if in_use else "true"}}}
        try:
            said = self._api.call("PATCH", self._path(name), body=change, content_type=MERGE_PATCH).body
        except Refused as error:
            if not error.is_absence("pods", name) and error.status not in (409, 422):  # another one of the same name
                problem = self._unavailable(error, "patch pods")
                raise Conflict(problem.message, hint=problem.hint, code="pod_forbidden") from error
        else:
            self._watch.learn(said)

    def present(self, expected: Collection[str] = ()) -> list[PresentPod]:
        """Return what the watch knows. Its silence proves nothing: what is expected in vain is asked for by name."""
        found = self._watch.pods(now=self._clock.now_ms())
        for name in sorted(set(expected) - found.keys()):
            pod = self._find(name)
            if pod is not None:
                found[name] = pod
        return [found[name] for name in sorted(found)]

    def close(self) -> None:
        """End the watch and close connections; the next call begins anew."""
        self._watch.close()
        self._api.close()

    def _find(self, name: str) -> PresentPod | None:
        try:
            return kubernetes_status.read(self._api.call("GET", self._path(name)).body)
        except Refused as error:
            if error.is_absence("pods", name):
                return None
            raise self._unavailable(error, "get pods") from error

    def _post(self, spec: PodSpec, **query: str) -> None:
        manifest = self._manifest(spec)
        try:
            query = {"fieldValidation": "Strict", **query}
            made = self._api.call("POST", self._path(), query=query, body=manifest).body
        except Refused as error:
            if error.reason == "AlreadyExists":
                return
            if error.status in (400, 422):
                raise _bad_template(spec, error) from error
            if error.status == 403 or error.status >= 500:  # a webhook refuses with whatever code it likes
                raise Conflict(
                    f"the cluster does not allow a pod of pool {spec.pool}: {error.message}",
                    hint="a quota, a policy, a webhook, or the right to create pods: `iacq doctor` tells which",
                    code="pod_forbidden",
                ) from error
            raise self._unavailable(error, "create pods") from error
        if "dryRun" not in query:
            self._watch.learn(made)

    def _manifest(self, spec: PodSpec) -> dict[str, Any]:
        settings = self._settings
        return pod_manifest.build(
            WorkerPod(
                name=spec.name,
                namespace=self._api.namespace,
                system=settings.pod_secret,
                pool=spec.pool,
                slots=spec.slots,
                generation=spec.generation,
                image=settings.pod_image,
                secret=settings.pod_secret,
                secret_variables=SECRETS,
                environment=_environment(settings),
                grace=math.ceil(settings.stop_grace) + _AFTER_GRACE,
                owner=self._owner,
            ),
            spec.template,
        )

    @functools.cached_property
    def _owner(self) -> Mapping[str, str] | None:
        """The Deployment with which the pods are to go."""
        name = self._settings.pod_owner
        if name is None:
            return None
        try:
            found = self._api.call("GET", f"/apis/apps/v1/namespaces/{self._api.namespace}/deployments/{name}").body
        except Refused as error:
            raise self._unavailable(error, "get deployments") from error
        return {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": found["metadata"]["uid"]}

    def _path(self, name: str | None = None) -> str:
        path = f"/api/v1/namespaces/{self._api.namespace}/pods"
        return path if name is None else f"{path}/{name}"

    def _unavailable(self, error: Refused, right: str) -> Unavailable:
        return kubernetes_status.unavailable(error, right, self._api.namespace)


def _environment(settings: Settings) -> dict[str, str]:
    """Return what this process was told, for the agents to work by the same times and sizes."""
    told = {}
    for entry in dataclasses.fields(Settings):
        value = getattr(settings, entry.name)
        own = entry.name in _NOT_FOR_PODS or entry.metadata["secret"]
        if own or isinstance(value, Path) or value is None or value == entry.default:
            continue
        told[f"IACQ_{entry.name.upper()}"] = ",".join(value) if isinstance(value, tuple) else str(value)
    return told


def _bad_template(spec: PodSpec, error: Refused) -> InvalidInput:
    causes = [f"{cause.get('field')}: {cause.get('message')}" for cause in error.causes]
    return InvalidInput(
        f"the cluster refuses the pods of pool {spec.pool}: {'; '.join(causes) or error.message}",
        field=pod_manifest.FIELD,
        hint=f"`iacq pool update {spec.pool} --template FILE`",
    )
