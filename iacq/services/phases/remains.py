"""What an apply left in its directory, kept for whoever needs it: a state that terraform could not store, and what a
dead apply had printed and written last.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from iacq import log
from iacq.domain import masking
from iacq.domain.masking import Masking
from iacq.domain.run import Phase, Run, directory_name
from iacq.errors import Conflict, InvalidInput, NotFound, PhaseFailed
from iacq.keeper import files
from iacq.ports import RunTree, Workshop
from iacq.services import states, workspace_secrets
from iacq.services.core import Core, load_artifact, store_artifact
from iacq.services.enqueuing import INPUTS, Inputs
from iacq.services.phases import preparing
from iacq.services.phases.context import SlotWorker
from iacq.services.phases.logwriter import LogWriter
from iacq.services.phases.output import Output
from iacq.services.phases.plan import STATE_FILE
from iacq.store import artifacts, workspaces
from iacq.store.artifacts import Artifact
from iacq.store.protocol import recovering
from iacq.store.session import Raced, Transaction

logger = log.get(__name__)

ERRORED_FILE = "errored.tfstate"
"""What terraform writes where it runs if its backend does not take the state."""


def tree_of(workshop: Workshop, run: Run, effects_fence: int) -> RunTree | None:
    """Return the directory of a started apply: where its canonical path leads.

    That is one that was made by its own claim, by a warm-up, or by its plan.
    """
    link = preparing.link(run)
    made_by = (effects_fence, run.warmup_fence, run.plan_fence)
    trees = (workshop.kept(directory_name(run.id, fence), link) for fence in made_by if fence is not None)
    return next((tree for tree in trees if tree is not None), None)


def errored_state(tree: Path, job: Path) -> bytes | None:
    """Return the errored.tfstate that this apply left; None: none, or one that was in the source."""
    launch = files.read_launch(job)
    launched_ms = (launch.launched_at if launch else None) or 0
    with contextlib.suppress(OSError):
        if (tree / ERRORED_FILE).stat().st_mtime_ns // 1_000_000 >= launched_ms:
            return (tree / ERRORED_FILE).read_bytes() or None
    return None


def errored_text(run: Run, *, managed: bool) -> str:
    """Say what a run with an errored.tfstate needs."""
    push = f"iacq state push {run.workspace} {ERRORED_FILE}" if managed else f"terraform state push {ERRORED_FILE}"
    return (
        "terraform could not store the state: it is kept with the run, and nothing else knows what was changed. "
        f"`iacq state pull {run.workspace} --errored {run.id} > {ERRORED_FILE}`, then `{push}`"
    )


def collect(worker: SlotWorker, run: Run, job: Path, effects_fence: int) -> bool:
    """Keep what an interrupted apply left, of which nothing is alive any more, and say that its end is proven.

    False: the run is not interrupted any more. Raises Unavailable: to be tried again.
    """
    tree = tree_of(worker.workshop, run, effects_fence)
    _keep_output(worker, run, job, effects_fence)
    kept: list[Artifact] = []
    if tree is not None:
        _keep_state(worker, run, tree.tree / STATE_FILE, effects_fence)
        errored = errored_state(tree.tree, job)
        if errored is not None:
            kind = states.ERRORED
            kept = [store_artifact(worker.core, run.workspace, run.id, kind, errored, version=effects_fence)]
    return worker.core.database.attempt(prove_end, run.id, effects_fence, kept) is not None


def prove_end(tx: Transaction, run_id: int, effects_fence: int, kept: list[Artifact]) -> Run:
    """Record what was kept, with the proof that nothing of this apply is alive."""
    proven = recovering.prove_end(tx, run_id, effects_fence)
    artifacts.record(tx, run_id, kept)
    return proven


def _keep_output(worker: SlotWorker, run: Run, job: Path, effects_fence: int) -> None:
    hidden = _masking(worker.core, run)
    writer = LogWriter(worker.core, worker.threads, run.id, Phase.APPLY, fence=run.fence, effects_fence=effects_fence)
    writer.masking = hidden
    try:
        with Output(writer, job) as output:
            output.take(ended=True)
        writer.flush()
    finally:
        writer.close()


def _masking(core: Core, run: Run) -> Masking:
    """Return what hides the run's secrets. Raises Unavailable."""
    try:
        inputs = Inputs.from_json(load_artifact(core, run.workspace, run.id, INPUTS))
        secrets = workspace_secrets.unseal(
            core, run.workspace, core.database.read(workspaces.secrets_of, run.workspace)
        )
    except (NotFound, PhaseFailed):
        return masking.EVERYTHING
    return inputs.masking(secrets)


def _keep_state(worker: SlotWorker, run: Run, file: Path, effects_fence: int) -> None:
    if run.planned_state is None:
        return
    fences = {"fence": run.fence, "effects_fence": effects_fence}
    try:
        states.save_file(worker.core, run.workspace, file, run_id=run.id, **fences)
    except (Conflict, InvalidInput, PhaseFailed, Raced) as error:
        logger.warning("the state in %s is not kept: %r", file, error, extra=log.ids(run=run.id))
