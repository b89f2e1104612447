"""A cluster to test with: its API, its nodes, and what pods can refer to."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.kubernetes import access
from tests.kubernetes.containers import Image, References
from tests.kubernetes.faults import Fault, Faults
from tests.kubernetes.kubelet import Kubelet
from tests.kubernetes.server import ApiServer
from tests.kubernetes.storage import Key, Object, Storage, stamp
from tests.kubernetes.workload import Surroundings

NAMESPACE = "iacq"


class Cluster:
    """A context manager. `namespace` exists from the beginning."""

    def __init__(
        self,
        root: Path,
        images: dict[str, Image],
        *,
        namespace: str = NAMESPACE,
        clean: Callable[[str], None] = lambda _: None,
    ) -> None:
        """root: a directory for volumes and logs; images: by the names that pods use;
        clean: removes what a pod of this name wrote to a path that all pods share."""
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.namespace = namespace
        self.images = images
        self.secrets: dict[str, dict[str, str]] = {}
        self.config_maps: dict[str, dict[str, str]] = {}
        self.storage = Storage()
        self.api = ApiServer(self.storage)
        references = References(secrets=self.secrets, config_maps=self.config_maps)
        self.kubelet = Kubelet(
            Surroundings(storage=self.storage, references=references, images=images, root=root, clean=clean)
        )
        self._stack = contextlib.ExitStack()
        self.add_namespace(namespace)

    def __enter__(self) -> Self:
        self._stack.enter_context(self.kubelet)
        self._stack.enter_context(self.api)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def faults(self) -> Faults:
        return self.api.faults

    def fail(self, **fault: Any) -> Fault:
        """Let something go wrong: see `Fault`."""
        return self.faults.add(Fault(**fault))

    def add_namespace(self, name: str) -> None:
        made: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {}, "status": {}}
        self.storage.create(Key(resource="namespaces", namespace="", name=name), stamp(made))

    def add_deployment(self, name: str) -> Object:
        """Put one there that others can belong to; nothing comes of it."""
        metadata = {"name": name, "namespace": self.namespace}
        made: Object = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {}, "status": {}}
        key = Key(resource="deployments", namespace=self.namespace, name=name)
        return self.storage.create(key, stamp(made))

    def pods(self) -> list[Object]:
        """Return the pods of the namespace as they are."""
        return self.storage.list("pods", self.namespace)[0]

    def pod(self, name: str) -> Object | None:
        return self.storage.find(Key(resource="pods", namespace=self.namespace, name=name))

    def delete(self, name: str) -> None:
        """Delete a pod as somebody with kubectl does, or a node controller: within its grace."""
        self.api.answers.pods.delete(Key(resource="pods", namespace=self.namespace, name=name), {})

    def write_kubeconfig(self, path: Path, *, token: str = access.TOKEN) -> Path:
        """Write what a client needs (JSON, which is YAML)."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.api.url}}],
            "users": [{"name": "control", "user": {"token": token}}],
            "contexts": [
                {"name": "test", "context": {"cluster": "test", "user": "control", "namespace": self.namespace}}
            ],
            "current-context": "test",
        }
        path.write_text(json.dumps(content))
        return path
