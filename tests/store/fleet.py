"""A manager of pods on a store world, with a runtime in memory."""

from collections.abc import Callable
from typing import Any

from iacq.domain.pool import Pool, PoolPolicy
from iacq.domain.slot import Pod
from iacq.ports import PodRuntime, PodSpec
from iacq.services.core import Core
from iacq.services.pod_manager import PodManager
from iacq.store import pod_lifecycle, pods, pools, slots
from iacq.store.pods import Registration
from iacq.testing.pod_runtime import FakePodRuntime
from tests.store.world import World


def keep_minimum(manager: PodManager, pool: Pool) -> None:
    """A scaler that wants as many pods as the pool must have."""
    existing = [pod for pod in manager.list_pods(pool.name) if pod.status != "offline"]
    for number in range(len(existing), pool.policy.min_pods):
        manager.create_pod(pool, existing=number)


class FleetWorld:
    """A world whose pods are managed."""

    def __init__(self, world: World, core: Core) -> None:
        self.world = world
        self.core = core
        self.runtime: Any = self.make_runtime()
        self.manager = self.another()

    def make_runtime(self) -> PodRuntime:
        """Return what the pods run on."""
        return FakePodRuntime()

    def another(self, scale: Callable[[PodManager, Pool], object] = keep_minimum) -> PodManager:
        """Return one more manager of the same pods."""
        return PodManager(self.core, self.runtime, scale=scale)

    def pool(self, **policy: int) -> Pool:
        """Give the pool its size."""
        self.world.do(pools.set_policy, "default", PoolPolicy(**{"max_pods": 3, "slots_per_pod": 2, **policy}))
        found = self.world.database.read(pools.find, "default")
        assert found is not None
        return found

    def create(self, **policy: int) -> str:
        """Ask for a pod."""
        existing = sum(pod.status != "offline" for pod in self.manager.list_pods("default"))
        name = self.manager.create_pod(self.pool(**policy), existing=existing)
        assert name is not None
        return name

    def online(self, **policy: int) -> str:
        """Ask for a pod, and let it register and open its slots."""
        name = self.create(**policy)
        self.register(name)
        return name

    def adopt(self, name: str) -> None:
        """Let a pod of this name be asked for and online: where `World` brings its runs."""
        pool = self.pool()
        asked = self.world.do(pod_lifecycle.ask, name, pool=pool.name, runtime="fake", existing=0)
        spec = PodSpec(name=name, pool=pool.name, slots=asked.slots, generation=asked.generation, template=None)
        self.runtime.create(spec)
        self.register(name)

    def register(self, name: str) -> None:
        """Let its agent register, and its slots open."""
        pod = self.pod(name)
        boot = f"{name}-boot1"
        self.world.do(
            pods.register, Registration(pod_name=name, agent_id=boot, pool=pod.pool, slots=pod.slots, managed=True)
        )
        for number in range(1, pod.slots + 1):
            self.world.do(slots.open_again, self.world.place(number, pod_name=name, agent_id=boot))

    def pod(self, name: str) -> Pod:
        found = self.world.database.read(pods.find, name)
        assert found is not None
        return found

    def names(self) -> list[str]:
        return [pod.name for pod in self.world.database.read(pods.listed)]
