"""The API of a Kubernetes cluster, asked through the official client: bounded, patient with a busy server, in JSON.

Answers are plain JSON and not the client's models: those refuse fields that a newer server sends.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iacq.errors import Unavailable
from iacq.settings import Settings

_CONNECT = 3.0
_READ = 30.0
"""Seconds: so long may the server ask others (admission webhooks) before it answers."""
_PATIENCE = 4.0
"""Seconds for which a call is tried again while the server is busy or does not answer."""
_FIRST_PAUSE = 0.1
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_BUSY = 429
_AWAY = "cluster_unavailable"
"""Code of the error that may pass by itself."""
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server said to a call that it accepted."""

    body: Mapping[str, Any]
    date: str | None  # its clock, as in the header


class Refused(Exception):  # noqa: N818 - it says what happened
    """The server understood a call, and does not do it."""

    def __init__(self, status: int, said: Mapping[str, Any]) -> None:
        self.status = status
        self.reason = str(said.get("reason") or "")  # AlreadyExists, Forbidden, ...: a word of the API
        self.message = str(said.get("message") or f"HTTP {status}")
        self._details: Mapping[str, Any] = said.get("details") or {}
        self.causes = tuple(self._details.get("causes") or ())
        super().__init__(self.message)

    def is_absence(self, kind: str, name: str) -> bool:
        """Tell whether the API says that there is no such thing: a 404 can come from something else on the way."""
        about = self._details.get("kind"), self._details.get("name")
        return self.status == 404 and self.reason == "NotFound" and about == (kind, name)


class KubernetesApi:
    """One cluster and namespace. It connects at the first call, and tells Unavailable while that fails."""

    def __init__(
        self, settings: Settings, pause: Callable[[float], None] = time.sleep, *, patience: float = _PATIENCE
    ) -> None:
        """pause: waits for so many seconds before a call is tried again; patience: seconds for which it is."""
        self._kubeconfig, self._wanted_namespace = settings.kubeconfig, settings.pod_namespace
        self._pause, self._patience = pause, patience
        self._lock = threading.Lock()
        self._client: Any = None
        self._namespace = ""

    @property
    def namespace(self) -> str:
        """Return the namespace of the pods. Raises Unavailable."""
        self._connect()
        return self._namespace

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        """Ask the server, again while it is busy. Every call may reach it twice: what it does must bear that.

        Raises Refused, and Unavailable if it does not answer in time.
        """
        until, pause = time.monotonic() + self._patience, _FIRST_PAUSE
        while True:
            try:
                response = self._send(method, path, query, body, content_type, (_CONNECT, _READ))
                data = response.read()
            except Unavailable as error:
                if error.code != _AWAY:
                    raise
                problem, wait = error, 0.0
            else:
                if response.status < 300:
                    return Answer(body=_json(data), date=response.headers.get("Date"))
                if _is_refusal(response.status, _json(data)):
                    raise Refused(response.status, _json(data))
                problem = _busy(response.status, _json(data))
                wait = _seconds(response.headers.get("Retry-After"))
            # Several control workers would otherwise come back together.
            wait = max(wait, pause) * random.uniform(1.0, 1.5)  # noqa: S311 - no secret
            if time.monotonic() + wait > until:
                raise problem
            self._pause(wait)
            pause *= 2

    def stream(self, path: str, *, query: Mapping[str, Any], silence: float) -> Any:
        """Open a watch, once; returns the client's response, to be read and closed. Raises Refused, Unavailable.

        silence: seconds without a byte after which reading fails.
        """
        response = self._send("GET", path, query, None, "application/json", (_CONNECT, silence))
        if response.status < 300:
            return response.response
        data = _json(response.read())
        if not _is_refusal(response.status, data):
            raise _busy(response.status, data)
        raise Refused(response.status, data)

    def close(self) -> None:
        """Close idle connections; the next call opens them again."""
        if self._client is not None:
            self._client.rest_client.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
        content_type: str,
        timeout: tuple[float, float],
    ) -> Any:
        client = self._connect()
        from kubernetes.client.exceptions import OpenApiException
        from urllib3.exceptions import HTTPError

        try:
            call = client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = client.call_api(*call, _request_timeout=timeout)
            if response.status == 401:
                response.read()
                raise _not_known_here()
        except (HTTPError, OpenApiException, OSError) as error:
            raise Unavailable(
                f"the API server of the cluster does not answer: {_short(error)}",
                hint="runs go on meanwhile; `iacq doctor` looks at the way to it",
                code=_AWAY,
            ) from error
        return response

    def _connect(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client, found = _client(self._kubeconfig)
                self._namespace = self._wanted_namespace or found
            return self._client


def _client(kubeconfig: Path | None) -> tuple[Any, str]:
    """Return the official client and the namespace that belongs to it."""
    try:
        import kubernetes.client
        import kubernetes.config
    except ImportError as error:
        raise Unavailable(
            "the Kubernetes client is not installed",
            field="IACQ_POD_RUNTIME",
            hint="pip install 'iacq[kubernetes]'",
            code="no_kubernetes_client",
        ) from error
    configuration = kubernetes.client.Configuration()
    try:
        if kubeconfig is None:
            kubernetes.config.load_incluster_config(configuration)
            namespace = _NAMESPACE.read_text().strip()
        else:
            kubernetes.config.load_kube_config(
                str(kubeconfig), client_configuration=configuration, persist_config=False
            )
            _, context = kubernetes.config.list_kube_config_contexts(str(kubeconfig))
            namespace = context["context"].get("namespace") or "default"
    except Exception as error:  # the client raises what it meets: its own, YAML's, those of files
        raise _no_way(kubeconfig, error) from error
    configuration.retries = False  # `call` does that, with a bound
    configuration.keep_alive = True  # a watch is silent for long
    return kubernetes.client.ApiClient(configuration), namespace


def _no_way(kubeconfig: Path | None, error: Exception) -> Unavailable:
    if kubeconfig is None:
        return Unavailable(
            f"this process is not in a cluster: {_short(error)}",
            field="IACQ_KUBECONFIG",
            hint="set IACQ_KUBECONFIG to a kubeconfig, or run in a pod with a service account",
            code="kubeconfig",
        )
    return Unavailable(
        f"the kubeconfig {kubeconfig} cannot be used: {_short(error)}",
        field="IACQ_KUBECONFIG",
        hint=f"try `kubectl --kubeconfig {kubeconfig} get pods`",
        code="kubeconfig",
    )


def _not_known_here() -> Unavailable:
    return Unavailable(
        "the API server of the cluster does not accept the credentials",
        field="IACQ_KUBECONFIG",
        hint="they have expired, or belong to another cluster",
        code="cluster_credentials",
    )


def _is_refusal(status: int, said: Mapping[str, Any]) -> bool:
    """Tell whether the server said no, rather than that it cannot answer. A webhook may say it with any code."""
    return (status != _BUSY and status < 500) or "admission webhook" in str(said.get("message"))


def _busy(status: int, said: Mapping[str, Any]) -> Unavailable:
    return Unavailable(
        f"the API server of the cluster is busy or out of order: {said.get('message') or 'no reason given'} "
        f"(HTTP {status})",
        hint="it is asked again in a few seconds",
        code=_AWAY,
    )


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(data)
    except ValueError:
        return {"message": data[:200].decode(errors="replace")}
    return said if isinstance(said, dict) else {}


def _seconds(header: str | None) -> float:
    return float(header) if header and header.isdigit() else 0.0


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
