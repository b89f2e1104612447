"""An iacq whose pods are those of a cluster: its control worker makes them through the API, a kubelet runs them."""

import base64
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from iacq import messages
from iacq.adapters.terraform import workshop
from iacq.domain.pool import PoolPolicy
from iacq.domain.slot import Pod, PodStatus
from iacq.domain.workspace import DEFAULT_POOL
from iacq.services.pools import PoolChange
from iacq.settings import load
from iacq.store import pools
from tests.acceptance.system import System
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.containers import Image
from tests.waiting import wait_until

T = TypeVar("T")
IMAGE = "iacq-agent:test"
_SECRET = "iacq"
_SLOTS = 2
_HURRY = 0.3


class ClusterSystem(System):
    """A context manager. There is no pod until a run needs one: at most four, of two slots each."""

    def __init__(self, home: Path, database_url: str, **settings: str) -> None:
        home.mkdir(mode=0o700, parents=True)
        self.images: dict[str, Image] = {}
        self.cluster = Cluster(home / "cluster", self.images, clean=self._clean)
        super().__init__(
            home / "control",
            database_url,
            slots=_SLOTS,
            POD_RUNTIME="kubernetes",
            KUBECONFIG=str(self.cluster.write_kubeconfig(home / "kubeconfig")),
            POD_IMAGE=IMAGE,
            ENCRYPTION_KEYS=base64.b64encode(os.urandom(32)).decode(),
            **settings,
        )
        secrets = ("IACQ_DATABASE_URL", "IACQ_BROKER_URL", "IACQ_ENCRYPTION_KEYS")
        self.cluster.secrets[_SECRET] = {name: self.environment[name] for name in secrets}
        self.restore_image()
        # As the agents see it: their home is a volume.
        shared = self.cluster.root / "shared" / "var" / "lib" / "iacq" / "home"
        self._of_pods = load({**self.environment, "IACQ_HOME": str(shared)}, home)

    def _begin(self) -> None:
        self.cluster.__enter__()
        self.broker.start()
        self.database.run(pools.set_policy, DEFAULT_POOL, PoolPolicy(max_pods=0, slots_per_pod=_SLOTS))
        self.start_control()
        self.wait_ready()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.cluster.__exit__()

    def restore_image(self) -> None:
        """Put the image of the agents where pods find it."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "IACQ_TERRAFORM": str(self.spy.path),
        }
        self.images[IMAGE] = Image(environment=environment)

    def start_missing(self) -> None:
        """Also let all pods go."""
        for name in set(self.programs) - {"control", "beat"}:
            self.kill(name)
        self.start_control()
        self.cluster.kubelet.reset_nodes()
        self.cluster.faults.clear()
        self.restore_image()

    def tidy(self) -> None:
        super().tidy()
        self.client.update_pool(DEFAULT_POOL, PoolChange(min_pods=0, max_pods=0, idle_grace_ms=0, template={}))
        self.settle(lambda: not self.client.pods() and not self.cluster.pods(), "no pod is left")

    def _is_ready(self) -> bool:
        return all(self.programs[name].poll() is None for name in ("control", "beat")) and self.client.control_seen()

    def _clean(self, pod: str) -> None:
        workshop.remove_slots(self._of_pods, pod)

    def _logs(self) -> list[Path]:
        return [*super()._logs(), *sorted((self.cluster.root / "log").glob("*.log"))]

    # pods

    def pool(self, *, max_pods: int = 4, idle_grace_ms: int = 600_000, **changes: Any) -> None:
        """Say how many pods there may be."""
        change = PoolChange(max_pods=max_pods, slots_per_pod=_SLOTS, idle_grace_ms=idle_grace_ms, **changes)
        self.client.update_pool(DEFAULT_POOL, change)

    def settle(self, condition: Callable[[], T], what: str, timeout: float = 120) -> T:
        """Wait until this is so, while control workers look after the pods more often than beat tells them to."""
        rung = 0.0

        def look() -> T:
            nonlocal rung
            if time.monotonic() - rung > _HURRY:
                self.ring(messages.RECONCILE_PODS)
                rung = time.monotonic()
            return condition()

        return wait_until(look, timeout, what)

    def online(self) -> list[Pod]:
        return [pod for pod in self.client.pods() if pod.status is PodStatus.ONLINE]
