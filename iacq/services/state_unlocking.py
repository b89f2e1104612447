"""Locks in backends of configurations' own: whose a lock is, and how the one of a dead apply is removed.

A managed state needs no lock of its own: its active run is the lock.
"""

from __future__ import annotations

from dataclasses import dataclass

from iacq.domain import state_lock, transitions
from iacq.domain.run import Run, RunOptions, RunType, Status
from iacq.domain.state_lock import StateLock
from iacq.errors import Conflict, NotFound
from iacq.services import enqueuing, evidence, state_changes
from iacq.services.core import Core
from iacq.services.enqueuing import Request
from iacq.store import runs, workspaces
from iacq.store.session import Transaction

_LOOK_BACK = 200
"""Runs of the workspace that are looked at, newest first."""


@dataclass(frozen=True, kw_only=True)
class Unlock:
    """What somebody asks for."""

    lock_id: str | None  # None: the lock that the newest run met
    force: bool  # whoever holds it
    reason: str | None
    by: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Whose a lock is, as far as iacq can know."""

    lock: StateLock
    taken_by: Run | None  # None: not by an apply of this workspace
    certain: bool  # by the time at which it was taken; else: by the last apply that cannot have released its lock
    dead: bool  # that apply is proven to have ended

    @property
    def text(self) -> str:
        """Say it, and what to do."""
        head = f"the state is locked (ID {self.lock.id}{f', by {self.lock.who}' if self.lock.who else ''})"
        run = self.taken_by
        if run is None:
            return f"{head}, and not by an apply of this workspace in iacq: look who works there"
        if not self.dead:
            return f"{head}, by the apply of run {run.id}, whose terraform may still be alive: `iacq show {run.id}`"
        command = f"iacq state unlock {run.workspace}"
        if self.certain:
            return f"{head}, left behind by the apply of run {run.id}, whose terraform is gone: `{command}` removes it"
        return (
            f"{head}; its backend does not say by whom, but the apply of run {run.id} was killed before it could "
            f"release its lock, and is gone: if it is that one, `{command} --lock-id {self.lock.id}` removes it"
        )


def diagnose(core: Core, workspace: str, error: str, *, met_by: int) -> Diagnosis | None:
    """Say whose lock it is that a run met; None: its error is about something else. met_by: id of that run."""
    lock = state_lock.parse(error)
    return None if lock is None else core.database.read(_judge, workspace, lock, met_by)


def _judge(tx: Transaction, workspace: str, lock: StateLock, met_by: int) -> Diagnosis:
    applies = [
        run
        for run in runs.listed(tx, workspace=workspace, limit=_LOOK_BACK)
        if run.id < met_by and run.effects_at is not None and state_lock.parse(run.error_text or "") is None
    ]
    certain = lock.created_at is not None
    run = state_lock.taken_by(lock, applies) if certain else _never_released(tx, applies)
    dead = run is not None and evidence.is_end_proven(tx, run, runs.events_of(tx, run.id))
    return Diagnosis(lock=lock, taken_by=run, certain=certain, dead=dead)


def _never_released(tx: Transaction, applies: list[Run]) -> Run | None:
    """Return the last run that had the lock, if its terraform did not end by itself."""
    if not applies:
        return None
    last = applies[0]
    interrupted = any(event.target is Status.APPLY_INTERRUPTED for event in runs.events_of(tx, last.id))
    return last if interrupted else None


def unlock(core: Core, workspace: str, asked: Unlock) -> Run | None:
    """Remove a lock in the backend: a run that plans, and before that tells terraform to. None: there is no lock.

    Until that run has ended no other one changes the workspace, so that it never removes the lock of one. Raises
    Conflict while a run changes the workspace, or if it is not known to be the lock of a dead apply (and `force` is not
    given); NotFound; InvalidInput if it is forced without a reason.
    """
    state_changes.require_reason(force=asked.force, reason=asked.reason)
    lock_id = core.database.read(_lock_to_remove, workspace, asked)
    if lock_id is None:
        return None
    removing = Request(
        workspace=workspace,
        run_type=RunType.PLAN_AND_APPLY,
        by=asked.by,
        priority=100,
        auto_apply=False,
        options=RunOptions(unlock=lock_id),
        message=f"unlock the state ({lock_id})" + (f": {asked.reason}" if asked.reason else ""),
    )
    return enqueuing.enqueue(core, removing)


def _lock_to_remove(tx: Transaction, workspace: str, asked: Unlock) -> str | None:
    workspaces.get(tx, workspace)
    state_changes.require_no_active_run(tx, workspace)
    if not state_changes.keeps_its_own(tx, workspace):
        return None
    found = _last_met(tx, workspace, asked.lock_id)
    if asked.force and (asked.lock_id or found):
        return asked.lock_id or (found.lock.id if found else None)
    if found is None:
        raise NotFound(
            f"no run of workspace {workspace} met " + (f"the lock {asked.lock_id}" if asked.lock_id else "a lock"),
            field="--lock-id" if asked.lock_id else "workspace",
            hint="an apply that meets one names it; a lock that you know of: --lock-id ID --force --reason …",
        )
    if not found.dead or not (found.certain or asked.lock_id):
        raise Conflict(
            found.text,
            field="workspace",
            hint="if you are sure that nothing uses it: --force --reason …",
            code="lock_not_ours",
        )
    return found.lock.id


def _last_met(tx: Transaction, workspace: str, lock_id: str | None) -> Diagnosis | None:
    for run in runs.listed(tx, workspace=workspace, statuses=transitions.ENDED, limit=_LOOK_BACK):
        lock = state_lock.parse(run.error_text or "")
        if lock is not None and lock_id in (None, lock.id):
            return _judge(tx, workspace, lock, run.id)
    return None
