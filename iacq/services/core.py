"""What every service gets."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from iacq import log
from iacq.domain.agent_health import Patience
from iacq.domain.run import Run, WarmupStatus
from iacq.errors import NotFound, PhaseFailed, Unavailable
from iacq.messages import SIGNAL_RUN, Doorbell
from iacq.ports import ArtifactStore, Clock, Dispatcher, Sealer, Source, TerraformVersions
from iacq.settings import Settings
from iacq.store import artifacts
from iacq.store.artifacts import Artifact
from iacq.store.session import Database

logger = log.get(__name__)


_rarely = log.Rarely(60)
_FORGET_MS = 3_600_000
"""How long a silent pod is listed of which nobody can say whether it is gone: one that was started by hand."""


class Apart:
    """Keeps what goes wrong with one item of a job from the others: it is logged now and then, and the job goes on.

    A database that does not answer ends the job: the others would fail too.
    """

    def __init__(self, **ids: Any) -> None:
        """ids: of the item, for the log."""
        self._ids = ids

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if not isinstance(error, Exception) or isinstance(error, Unavailable):
            return False
        if _rarely(tuple(self._ids.items())):
            logger.error("left out; the others go on", exc_info=error, extra=log.ids(**self._ids))
        return True


@dataclass(frozen=True, kw_only=True)
class Core:
    """Settings, database and ports of one process."""

    settings: Settings
    database: Database
    dispatcher: Dispatcher
    artifacts: ArtifactStore
    sealer: Sealer
    clock: Clock
    source: Source
    terraforms: TerraformVersions

    @property
    def patience(self) -> Patience:
        """How long agents and slots are waited for."""
        return Patience(
            register=int(self.settings.pod_start_timeout * 1000),
            heartbeat=int(self.settings.agent_offline * 1000),
            claim=int(self.settings.claim_timeout * 1000),
            forget=_FORGET_MS,
        )

    def ring(self, doorbell: Doorbell | None) -> bool:
        """Ring after the commit; if the broker is away the outbox rings later. Tells whether it was rung."""
        if doorbell is None:
            return True
        try:
            self.dispatcher.ring(doorbell)
        except Unavailable as error:
            logger.warning("%s; the outbox will ring again", error.message, extra=log.ids(run=doorbell.run_id))
            return False
        return True

    def wake_owner(self, run: Run) -> None:
        """Let the slot that a run runs in hear at once what it is asked; else its next renewal tells."""
        self._wake(run.id, run.pod_name, run.slot_id)

    def wake_warmup(self, run: Run) -> None:
        """Let the slot that prepares a run hear at once that nobody wants it any more. run: as it was before."""
        if run.warmup_status is WarmupStatus.WARMING:
            self._wake(run.id, run.prepared_pod_name, run.prepared_slot_id)

    def _wake(self, run_id: int, pod_name: str | None, slot_id: int | None) -> None:
        if pod_name is None or slot_id is None:
            return
        with contextlib.suppress(Unavailable):
            self.dispatcher.ring_agent(pod_name, SIGNAL_RUN, run_id=run_id, slot_id=slot_id)

    def ring_control(self, task: str) -> bool:
        """Ask a control worker to look now; beat asks every few seconds anyway. Tells whether it was rung."""
        try:
            self.dispatcher.ring_control(task)
        except Unavailable as error:
            logger.warning("%s; it is stored, and starts when the broker is back", error.message)
            return False
        return True


def bound_to(workspace: str, run_id: int, kind: str) -> str:
    """Name what sealed bytes belong to: they cannot be opened as anything else's."""
    return f"workspace={workspace};run={run_id};kind={kind}"


def store_artifact(core: Core, workspace: str, run_id: int, kind: str, plain: bytes, *, version: int) -> Artifact:
    """Seal and store one artifact durably; the caller records it in its own transaction.

    version: the fence of the claim that writes it, so that a late writer overwrites nothing.
    """
    [stored] = store_artifacts(core, workspace, run_id, {kind: plain}, version=version)
    return stored


def store_artifacts(
    core: Core, workspace: str, run_id: int, plain: Mapping[str, bytes], *, version: int
) -> list[Artifact]:
    """Seal and store what belongs together, by kind, as `store_artifact` does."""
    made = [
        Artifact(
            kind=kind, sha256=hashlib.sha256(data).hexdigest(), size=len(data), key=f"runs/{run_id}/{kind}-{version}"
        )
        for kind, data in plain.items()
    ]
    core.artifacts.put_all(
        {
            artifact.key: core.sealer.seal(plain[artifact.kind], bound_to=bound_to(workspace, run_id, artifact.kind))
            for artifact in made
        }
    )
    return made


def load_artifact(core: Core, workspace: str, run_id: int, kind: str) -> bytes:
    """Return one artifact in clear, its hash verified.

    Raises NotFound if the run has none, PhaseFailed(code=unreadable) if the bytes are not what was stored.
    """
    return open_artifact(core, workspace, run_id, kind, core.database.read(artifacts.find, run_id, kind))


def open_artifact(core: Core, workspace: str, run_id: int, kind: str, found: Artifact | None) -> bytes:
    """Return the artifact that was found in clear, as `load_artifact` does."""
    if found is None:
        raise NotFound(f"run {run_id} has no stored {kind}")
    plain = core.sealer.open(core.artifacts.get(found.key), bound_to=bound_to(workspace, run_id, kind))
    if hashlib.sha256(plain).hexdigest() != found.sha256:
        raise PhaseFailed(f"the stored {kind} of run {run_id} is not what was stored", code="hash_mismatch")
    return plain
