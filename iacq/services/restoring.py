"""Make a database that was restored from a backup fit to go on with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iacq import log
from iacq.domain import transitions
from iacq.domain.run import Run, Status
from iacq.errors import Conflict
from iacq.services.core import Core
from iacq.store import runs, states
from iacq.store.protocol import restoring
from iacq.store.session import Transaction
from iacq.store.states import StateVersion

logger = log.get(__name__)

_LOCKED_BECAUSE = "the database was restored from a backup, and its state may be older than what is real"


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was found and done."""

    runs: tuple[tuple[Run, Run], ...]  # every unended run, before and after
    states: Mapping[str, StateVersion]  # newest managed state of each workspace: versions after the backup are lost
    locked: tuple[str, ...]  # workspaces that would have applied without being asked
    ids_after: int | None  # new runs get greater ids; None: nobody could be told so


def settle(core: Core, *, by: str, force: bool = False) -> Restored:
    """Turn what may have started since the backup into something that does not start again, in one transaction.

    Raises Conflict while anything of the system gave a sign of life lately, unless forced: it has to be stopped, since
    a terraform that runs now would go on, and nobody would hear of its end.
    """
    silence_ms = int(core.settings.agent_offline * 1000)
    alive = core.database.read(restoring.seen_lately, ms=silence_ms)
    if alive and not force:
        raise _running(f"{', '.join(alive)} gave a sign of life in the last {core.settings.agent_offline:g} s")
    done = core.database.attempt(_settle, by)
    if done is None:
        raise _running("a run changed meanwhile, and nothing was done")
    for before, after in done.runs:
        logger.info("restored: %s is now %s", before.status, after.status, extra=log.ids(run=after.id))
    return done


def _running(why: str) -> Conflict:
    return Conflict(
        f"the system is running: {why}",
        hint="stop it, with all that its pods still run, wait that long, repeat; --force does it all the same",
        code="system_running",
    )


def _settle(tx: Transaction, by: str) -> Restored:
    # In the order in which every step takes its locks: workspace, run, slot.
    locked = restoring.lock_automatic(tx, by=by, reason=_LOCKED_BECAUSE)
    unended = runs.listed(tx, statuses=set(Status) - transitions.ENDED, newest_first=False)
    settled = tuple((run, restoring.restore(tx, run, by=by)) for run in unended)
    restoring.forget_the_fleet(tx)
    return Restored(
        runs=settled,
        states=states.newest_of_each(tx),
        locked=tuple(locked),
        ids_after=restoring.skip_run_ids(tx),
    )
