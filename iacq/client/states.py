"""Read and change managed states."""

from __future__ import annotations

from collections.abc import Sequence

from iacq.client.base import Base
from iacq.domain.run import Run
from iacq.services import state_changes, state_unlocking, states
from iacq.services.state_unlocking import Unlock
from iacq.store import states as state_rows
from iacq.store.states import Push, StateVersion


class StateCalls(Base):
    """Calls about states."""

    def states(self, workspace: str) -> Sequence[StateVersion]:
        """Return the versions of a managed state, newest first."""
        self.workspace(workspace)
        return self._core.database.read(state_rows.listed, workspace)

    def pull_state(self, workspace: str, *, version: int | None = None) -> bytes:
        """Return a state in clear, the newest by default. Raises NotFound."""
        return states.pull(self._sealing, workspace, version)

    def pull_errored_state(self, workspace: str, run_id: int) -> bytes:
        """Return the state that a run's terraform could not store (its errored.tfstate). Raises NotFound."""
        return states.pull_errored(self._sealing, workspace, self.get(run_id))

    def push_state(
        self, workspace: str, data: bytes, *, force: bool = False, reason: str | None = None, by: str | None = None
    ) -> StateVersion:
        """Make `data` the newest version of a managed state: of its lineage, with a greater serial.

        force: whatever lineage and serial it has; needs a reason. Raises InvalidInput, NotFound, Conflict.
        """
        push = Push(by=self._who(by), reason=reason, force=force)
        return state_changes.push(self._sealing, workspace, data, push)

    def unlock_state(
        self,
        workspace: str,
        *,
        lock_id: str | None = None,
        force: bool = False,
        reason: str | None = None,
        by: str | None = None,
    ) -> Run | None:
        """Remove the lock that a dead apply left in the configuration's own backend; returns the plan that does it.

        None: nothing holds the state, so there is nothing to remove. force: also a lock of which nobody knows whose it
        is; needs a reason. Raises NotFound, InvalidInput, and Conflict while an apply may be alive.
        """
        asked = Unlock(lock_id=lock_id, force=force, reason=reason, by=self._who(by))
        return state_unlocking.unlock(self._core, workspace, asked)
