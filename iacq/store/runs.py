"""Rows of `workspace_tasks`: reading them, and the one function that changes a status."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from iacq.domain import transitions, versions
from iacq.domain.run import Changes, Run, RunType, StartTier, Status, WarmupStatus
from iacq.domain.transitions import Cause
from iacq.store import readable, statement
from iacq.store.schema import events, runs
from iacq.store.session import Raced, Transaction, as_timestamp, now_ms
from iacq.store.startable import is_unended
from iacq.store.statement import NOW, SET, TIMESTAMP

COLUMNS = tuple(
    column
    for column in runs.c
    if column.name not in {"updated_at", "created_at", "started_at", "completed_at", "tallied"}
)
_COLUMNS_AND_LEASE = (*COLUMNS, (runs.c.lease_until > now_ms()).label("lease_holds"))
_TAKE_ID = sa.text("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'workspace_tasks' RETURNING seq")
_FIRST_ID = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('workspace_tasks', 1)")
_UNENDED = sa.text(is_unended())
_OURS = {"fence": SET}
"""A row that iacq wrote."""


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """What a run is enqueued with."""

    workspace: str
    run_type: RunType
    pool: str
    priority: int
    auto_apply: bool
    message: str | None
    requested_by: str
    idempotency_key: str | None
    request_digest: str
    retry_of: int | None = None  # the ended run that is asked for again
    needs_protocol: int = versions.RUN_NEEDS


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change of a run's state."""

    at: int  # ms
    source: Status | None
    target: Status
    cause: Cause
    by: str | None
    details: str | None


_REQUIRED = (
    "workspace_id",
    "pool",
    "priority",
    "requested_by",
    "attempt",
    "tries",
    "fence",
    "created_ms",
    "needs_protocol",
)


def _mapping(value: object) -> dict[str, Any] | None:
    """Read a JSON column that only explains: what has another shape explains nothing."""
    return value if isinstance(value, dict) else None


def _changes(value: object) -> Changes | None:
    found = _mapping(value) or {}
    if not all(isinstance(found.get(name), int) for name in ("add", "change", "destroy")):
        return None
    return Changes(add=found["add"], change=found["change"], destroy=found["destroy"])


def _timings(value: object) -> dict[str, Any]:
    return {phase: steps for phase, steps in (_mapping(value) or {}).items() if isinstance(steps, dict)}


def to_run(row: sa.Row[Any]) -> Run:
    """Make a value of a row that was selected with all of iacq's columns."""
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    for name in _REQUIRED:
        if values[name] is None:
            raise ValueError(f"{name} is NULL")
    return Run(
        id=values["id"],
        workspace=values["workspace_id"],
        run_type=RunType(values["task_type"]),
        status=Status(values["status"]),
        pool=values["pool"],
        priority=values["priority"],
        auto_apply=bool(values["auto_apply"]),
        message=values["message"],
        requested_by=values["requested_by"],
        idempotency_key=values["idempotency_key"],
        retry_of=values["retry_of"],
        stage=values["stage"],
        attempt=values["attempt"],
        tries=values["tries"],
        fence=values["fence"],
        owner=values["owner"],
        lease_until=values["lease_until"],
        queue=values["queue"],
        plan_fence=values["plan_fence"],
        effects_at=values["effects_at_ms"],
        effects_fence=values["effects_fence"],
        agent_id=values["agent_id"],
        pod_name=values["pod_name"],
        slot_id=values["slot_id"],
        prepared_agent_id=values["warmup_agent_id"],
        prepared_pod_name=values["warmup_pod_name"],
        prepared_slot_id=values["warmup_slot_id"],
        warmup_status=WarmupStatus(values["warmup_status"] or WarmupStatus.NONE),
        warmup_fence=values["warmup_fence"],
        warmup_retries=values["warmup_retry_count"] or 0,
        warmup_until=values["warmup_until_ms"],
        plan_hash=values["plan_hash"],
        fingerprint=_mapping(values["fingerprint"]),
        changes=_changes(values["changes"]),
        confirmed_at=values["confirmed_ms"],
        confirmed_by=values["confirmed_by"],
        confirmed_hash=values["confirmed_hash"],
        confirmed_comment=values["confirmed_comment"],
        cancel_requested_at=values["cancel_requested_ms"],
        cancel_requested_by=values["cancel_requested_by"],
        freeze_requested_at=values["freeze_requested_ms"],
        expires_at=values["expires_ms"],
        start_tier=StartTier(values["start_tier"]) if values["start_tier"] else None,
        timings=_timings(values["timings"]),
        error_code=values["error_code"],
        error_text=values["error_text"],
        needs_protocol=values["needs_protocol"],
        commit=values["git_commit"],
        terraform_version=values["terraform_version"],
        created_at=values["created_ms"],
        queued_at=values["queued_ms"],
        started_at=values["started_ms"],
        completed_at=values["completed_ms"],
    )


_INSERT = (
    runs.insert()
    .values(
        created_ms=now_ms(), queued_ms=now_ms(), created_at=as_timestamp(now_ms()), updated_at=as_timestamp(now_ms())
    )
    .returning(*COLUMNS)
)


def reserve_id(tx: Transaction) -> int | None:
    """Take the number of a run that is inserted later, where one writer at a time holds up the others (SQLite).

    None: elsewhere; the row gets its number itself. One that is not used leaves a gap.
    """
    if tx.connection.dialect.name != "sqlite":
        return None
    taken = tx.execute(_TAKE_ID).scalar()
    if taken is None:
        tx.execute(_FIRST_ID)
    return int(taken or 1)


def insert(tx: Transaction, new: NewRun, *, run_id: int | None = None) -> Run:
    """Store a pending run. A used idempotency key violates its unique index. run_id: what `reserve_id` returned."""
    values = {
        "workspace_id": new.workspace,
        "task_type": new.run_type,
        "status": Status.PENDING,
        "pool": new.pool,
        "priority": new.priority,
        "auto_apply": new.auto_apply,
        "message": new.message,
        "requested_by": new.requested_by,
        "idempotency_key": new.idempotency_key,
        "request_digest": new.request_digest,
        "retry_of": new.retry_of,
        "needs_protocol": new.needs_protocol,
        "attempt": 0,
        "tries": 0,
        "fence": 0,
        "tallied": 0,
        # Said here too: a table that was there before iacq may have other defaults.
        "warmup_status": WarmupStatus.NONE,
        "warmup_retry_count": 0,
    }
    if run_id is not None:
        values["id"] = run_id
    run = to_run(tx.execute(_INSERT, values).one())
    _record(tx, run.id, None, Status.PENDING, Cause.ENQUEUED, by=new.requested_by)
    return run


def transition(
    tx: Transaction,
    run_id: int,
    cause: Cause,
    source: Status,
    target: Status,
    seen: Mapping[str, Any],
    *,
    by: str | None = None,
    details: str | None = None,
    **becomes: Any,
) -> Run:
    """Change a status, compare-and-set: the only door. Keeps the event.

    seen: what must hold beside id and status, and `becomes` the other columns, as `statement` describes. Raises Raced
    if no row was changed, and ValueError for a way that the table of transitions does not have: the caller's error.
    """
    if not transitions.is_allowed(source, cause, target):
        raise ValueError(f"a run never goes from {source} to {target} because of {cause}")
    if target in transitions.ENDED:
        becomes = {**_ENDED, **becomes}
    run = change(tx, run_id, {"status": source, **seen}, status=target, **becomes)
    _record(tx, run_id, source, target, cause, by=by, details=details)
    return run


LOST_PLACE: dict[str, Any] = {
    "warmup_agent_id": None,
    "warmup_pod_name": None,
    "warmup_slot_id": None,
    "warmup_status": WarmupStatus.NONE,
    "warmup_at": None,
    "warmup_expires_at": None,
    "warmup_fence": None,
    "warmup_until_ms": None,
}
"""What a run has that is prepared nowhere."""

_ENDED = {
    "owner": None,
    "lease_until": None,
    "queue": None,
    "stage": None,
    "completed_ms": NOW,
    "completed_at": TIMESTAMP,
    **LOST_PLACE,
}


def lose_place(tx: Transaction, run_id: int) -> Run:
    """Forget where a run is prepared: its apply will not start hot."""
    return change(tx, run_id, {}, **LOST_PLACE)


def change(tx: Transaction, run_id: int, seen: Mapping[str, Any], *, within_lease: bool = False, **becomes: Any) -> Run:
    """Change columns other than the status, compare-and-set. Raises Raced if no row was changed.

    within_lease: the lease must hold after any wait for a lock too. What `seen` says was judged before it, and is
    judged again only if the row was changed meanwhile.
    """
    returning = _COLUMNS_AND_LEASE if within_lease else COLUMNS
    values = {"updated_at": TIMESTAMP, **becomes}
    row = statement.update(tx, runs, {"id": run_id, **_OURS, **seen}, values, returning=returning).first()
    if row is None or (within_lease and not row.lease_holds):
        raise Raced
    return to_run(row)


_INSERT_EVENT = events.insert().values(at_ms=now_ms())


def _record(
    tx: Transaction,
    run_id: int,
    source: Status | None,
    target: Status,
    cause: Cause,
    *,
    by: str | None = None,
    details: str | None = None,
) -> None:
    values = {"source": source, "target": target, "cause": cause, "by": by, "details": details}
    tx.execute(_INSERT_EVENT, {"run_id": run_id, **values})


_GET = sa.select(*COLUMNS).where(runs.c.id == sa.bindparam("run_id"), runs.c.fence.is_not(None))
"""Built once: it is the question that is asked most."""


def get(tx: Transaction, run_id: int) -> Run | None:
    """Return a run, or None if there is none of that id that iacq wrote."""
    return readable.one(tx, _GET, {"run_id": run_id}, to_run)


def select_for_writer(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Select something if logs and states are this writer's: the owner's, or the process's of the interrupted apply.

    Bound parameters: run_id, fence, effects_fence. The row of the run is locked in share mode, so that no other claim
    begins before the commit.
    """
    return (
        sa.select(*columns)
        .select_from(runs)
        .where(
            runs.c.id == sa.bindparam("run_id"),
            runs.c.fence.is_not(None),
            sa.or_(
                runs.c.fence == sa.bindparam("fence"),
                sa.and_(
                    runs.c.status == Status.APPLY_INTERRUPTED,
                    runs.c.effects_fence == sa.bindparam("effects_fence", type_=sa.Integer),
                ),
            ),
        )
        .with_for_update(read=True)
    )


_WRITER = select_for_writer(runs.c.id)


def require_writer(tx: Transaction, run_id: int, fence: int, effects_fence: int | None) -> None:
    """Check that logs and states are this writer's, as `select_for_writer` says. Raises Raced."""
    writer = {"run_id": run_id, "fence": fence, "effects_fence": effects_fence}
    if tx.execute(_WRITER, writer).first() is None:
        raise Raced


def among(tx: Transaction, ids: Collection[int]) -> list[Run]:
    """Return the runs of these ids, in any order, without those whose row is broken."""
    wanted = sa.select(*COLUMNS).where(runs.c.id.in_(ids), runs.c.fence.is_not(None))
    return readable.many(tx, wanted, (runs.c.id,), to_run)


def by_key(tx: Transaction, workspace: str, key: str) -> tuple[Run, str] | None:
    """Return the run that took this idempotency key, and the digest of what it asked for."""
    row = tx.execute(
        sa.select(*COLUMNS).where(
            runs.c.workspace_id == workspace, runs.c.idempotency_key == key, runs.c.fence.is_not(None)
        )
    ).first()
    return (to_run(row), row.request_digest) if row else None


def listed(
    tx: Transaction,
    *,
    workspace: str | None = None,
    pool: str | None = None,
    statuses: Iterable[Status] | None = None,
    limit: int | None = None,
    newest_first: bool = True,
) -> list[Run]:
    """Return runs by id, without those whose row is broken."""
    wanted = sa.select(*COLUMNS).where(runs.c.fence.is_not(None))
    if workspace is not None:
        # What the index of a workspace's runs has: without a status a row is broken.
        wanted = wanted.where(runs.c.workspace_id == workspace, runs.c.status.is_not(None))
    if pool is not None:
        wanted = wanted.where(runs.c.pool == pool)
    if statuses is not None:
        kept = set(statuses)
        wanted = wanted.where(runs.c.status.in_(sorted(kept)))
        if kept.isdisjoint(transitions.ENDED):  # else SQLite does not see that the index of these has all of them
            wanted = wanted.where(_UNENDED)
    wanted = wanted.order_by(runs.c.id.desc() if newest_first else runs.c.id).limit(limit)
    return readable.many(tx, wanted, (runs.c.id,), to_run)


def asked_to_stop(tx: Transaction) -> list[Run]:
    """Return the running runs whose owner a freeze asked to stop."""
    asked = sa.select(*COLUMNS).where(
        _UNENDED,
        runs.c.status.in_(sorted(transitions.RUNNING)),
        runs.c.freeze_requested_ms.is_not(None),
    )
    return readable.many(tx, asked, (runs.c.id,), to_run)


def events_of(tx: Transaction, run_id: int) -> list[Event]:
    """Return what happened to a run, oldest first."""
    rows = tx.execute(sa.select(events).where(events.c.run_id == run_id).order_by(events.c.id))
    return [to_event(row) for row in rows]


def to_event(row: sa.Row[Any]) -> Event:
    """Make a value of a row."""
    return Event(
        at=row.at_ms,
        source=Status(row.source) if row.source else None,
        target=Status(row.target),
        cause=Cause(row.cause),
        by=row.by,
        details=row.details,
    )
