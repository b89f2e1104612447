"""Look at pools, pods and slots, and at what waits for them."""

from __future__ import annotations

from collections.abc import Sequence

from iacq.client.base import Base
from iacq.domain.queueing import Waiting
from iacq.domain.run import Run
from iacq.domain.slot import Pod, Slot
from iacq.services import pod_orders, pools, scaling, views
from iacq.services.pools import PoolChange
from iacq.services.pools import Shown as ShownPool
from iacq.services.scaling import Decision
from iacq.store import pods as pod_rows
from iacq.store import slots as slot_rows


class FleetCalls(Base):
    """Calls about the fleet."""

    def create_pool(self, name: str, given: PoolChange) -> ShownPool:
        """Store a new pool; what is not given has a default. Raises InvalidInput, Conflict."""
        return pools.create(self._core, name, given)

    def update_pool(self, name: str, given: PoolChange) -> ShownPool:
        """Change a pool. Another template, or number of slots, replaces its pods. Raises InvalidInput, NotFound."""
        return pools.update(self._core, name, given)

    def roll_pool(self, name: str) -> ShownPool:
        """Let every pod of a pool be replaced by a new one. Raises NotFound."""
        return pools.roll(self._core, name)

    def delete_pool(self, name: str) -> None:
        """Remove a pool. Raises NotFound, and Conflict while workspaces, unended runs or pods belong to it."""
        pools.delete(self._core, name)

    def pool(self, name: str) -> ShownPool:
        """Return a pool. Raises NotFound."""
        return pools.show(self._core, name)

    def pools(self) -> Sequence[ShownPool]:
        """Return all pools by name."""
        return pools.listed(self._core)

    def explain_scaling(self, name: str) -> Decision:
        """Decide how many pods a pool should have, from what, and why; nothing is done. Raises NotFound."""
        return scaling.decide(self._core, name)

    def queue(self) -> Sequence[tuple[Run, Waiting | None]]:
        """Return every run that has not ended, in the order of dispatch, each with why it waits."""
        return views.queue(self._core)

    def pods(self) -> Sequence[Pod]:
        """Return pods by name."""
        return self._core.database.read(pod_rows.listed)

    def drain_pod(self, name: str, *, by: str | None = None) -> Pod:
        """Let a pod get no work any more, and go when what runs there has ended; what waits there goes elsewhere.

        Draining it again changes nothing. Raises NotFound.
        """
        return pod_orders.drain(self._core, name, reason=f"drained by {self._who(by)}")

    def delete_pod(self, name: str, *, force: bool = False, by: str | None = None) -> Pod:
        """Let a pod go now; it is listed until it is gone. Raises NotFound, and Conflict if a run holds a slot there.

        force: what runs there is told to stop with it, and killed after the pod's grace.
        """
        return pod_orders.delete(self._core, name, reason=f"deleted by {self._who(by)}", force=force)

    def slots(self) -> Sequence[Slot]:
        """Return slots by pod and number."""
        return self._core.database.read(slot_rows.listed)

    def control_seen(self) -> bool:
        """Tell whether a control worker gave a sign of life in the last half minute."""
        return views.control_seen(self._core)
