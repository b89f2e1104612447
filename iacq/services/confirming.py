"""Confirm, discard, cancel and resolve runs: what people and services say about them."""

from __future__ import annotations

import re

from iacq.domain import transitions
from iacq.domain.run import Run, Status
from iacq.errors import Conflict, InvalidInput, NotFound
from iacq.messages import DISPATCH, is_id
from iacq.services.core import Core
from iacq.store import runs
from iacq.store.protocol import recovering, waiting

_ROUNDS = 5
"""How often a step is tried again with fresh eyes after another process was faster."""


def get_run(core: Core, run_id: int) -> Run:
    """Return a run. Raises NotFound."""
    run = core.database.read(runs.get, run_id) if is_id(run_id) else None
    if run is None:
        shown = ascii(run_id)[:60]  # whatever a caller took for one
        raise NotFound(f"there is no run {shown}", field="run", hint="`iacq runs` shows them")
    return run


def confirm(core: Core, run_id: int, *, plan_hash: str, by: str, comment: str | None = None) -> Run:
    """Confirm the plan with this hash (64 hex digits, or the first 12 or more); returns the run.

    A repeat with the same hash is answered with the first confirmation, also after the end. Raises Conflict if the run
    has another plan, never waited for a confirmation, or its plan expired.
    """
    for _ in range(_ROUNDS):
        run = get_run(core, run_id)
        _check_hash(run, plan_hash)
        if run.confirmed_at is not None:
            return run
        if run.status is not Status.APPLY_PENDING:
            raise Conflict(f"run {run_id} does not wait for a confirmation: it is {run.status}", field="run")
        confirmed = core.database.attempt(waiting.confirm, run, by=by, comment=comment)
        if confirmed is not None:
            run, bell = confirmed
            if bell is None or not core.ring(bell):
                core.ring_control(DISPATCH)
            return run
        if run.expires_at is not None and core.database.attempt(waiting.expire, run) is not None:
            raise Conflict(
                f"the plan of run {run_id} has expired and was discarded",
                field="run",
                hint=f"plan again: `iacq apply {run.workspace}`",
            )
    raise _contended(run_id)


def _check_hash(run: Run, seen: str) -> None:
    seen = seen.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{12,64}", seen):
        raise InvalidInput(
            "a plan hash is 64 hexadecimal digits, or the first 12 or more of them",
            field="--plan-hash",
            hint=f"`iacq show {run.id}` prints it",
        )
    if run.plan_hash is not None and not run.plan_hash.startswith(seen):
        raise Conflict(
            f"run {run.id} has another plan: its hash is {run.plan_hash[:12]}, you saw {seen[:12]}",
            field="--plan-hash",
            hint=f"read it again: `iacq show {run.id} --plan`",
        )


def discard(core: Core, run_id: int, *, by: str) -> Run:
    """Discard an unconfirmed plan; fine if it was discarded already. Raises Conflict in any other state."""
    for _ in range(_ROUNDS):
        run = get_run(core, run_id)
        if run.status is Status.DISCARDED:
            return run
        if run.status is not Status.APPLY_PENDING:
            raise Conflict(
                f"run {run_id} has no plan to discard: it is {run.status}",
                field="run",
                hint=None if run.status in transitions.ENDED else f"`iacq cancel {run_id}`",
            )
        discarded = core.database.attempt(waiting.discard, run, by=by)
        if discarded is not None:
            core.wake_warmup(run)
            core.ring_control(DISPATCH)
            return discarded
    raise _contended(run_id)


def cancel(core: Core, run_id: int, *, by: str, force: bool = False) -> Run:
    """Cancel a run: at once while it waits; a running one gets one SIGINT within about a second.

    Raises Conflict if the run has ended, is interrupted, or terraform may have begun to apply and `force` is not given.
    """
    for _ in range(_ROUNDS):
        run = get_run(core, run_id)
        if run.status in transitions.ENDED:
            raise Conflict(f"run {run_id} has ended already: {run.status}", field="run")
        if run.status is Status.APPLY_INTERRUPTED:
            raise Conflict(
                f"run {run_id} was interrupted; there is nothing left to cancel",
                field="run",
                hint=f"`iacq run resolve {run_id} --applied|--failed --comment …`",
            )
        if run.status in transitions.CANCELLED_AT_ONCE:
            cancelled = core.database.attempt(waiting.cancel, run, by=by)
            if cancelled is not None:
                core.wake_warmup(run)
                core.ring_control(DISPATCH)
                return cancelled
            continue
        asked_before = run.cancel_requested_at is not None
        requested = core.database.attempt(waiting.request_cancel, run, by=by, force=force or asked_before)
        if requested is not None:
            core.wake_owner(requested)
            return requested
        present = get_run(core, run_id)
        if not force and present.status is Status.APPLYING and present.effects_at is not None:
            raise Conflict(
                f"run {run_id} is applying: terraform may have changed resources already",
                field="run",
                hint=f"`iacq cancel {run_id} --force` interrupts terraform once and saves the state that exists",
                code="needs_force",
            )
    raise _contended(run_id)


def resolve(core: Core, run_id: int, *, applied: bool, by: str, comment: str, force: bool = False) -> Run:
    """Say how an interrupted apply ended. Raises Conflict while its terraform may still be alive (see `force`)."""
    if not comment.strip():
        raise InvalidInput("say how you know", field="--comment")
    run = get_run(core, run_id)
    target = Status.APPLIED if applied else Status.FAILED
    if run.status is not Status.APPLY_INTERRUPTED:
        raise Conflict(f"run {run_id} is not interrupted: it is {run.status}", field="run")
    resolved = core.database.attempt(recovering.resolve, run, target, by=by, comment=comment, force=force)
    if resolved is None:
        raise _contended(run_id)
    core.ring_control(DISPATCH)
    return resolved


def _contended(run_id: int) -> Conflict:
    return Conflict(f"run {run_id} changed while it was looked at", hint="look again: `iacq show " + str(run_id) + "`")
