"""The tables.

Times that iacq compares are integer milliseconds since the epoch (`…_ms`, `…_until`); the TIMESTAMP columns are
written for other readers of `workspace_tasks` and never read here. That table may hold rows that iacq did not write:
their `fence` is NULL, and every constraint, index and query of iacq is limited to the others. Indexes are in `indexes`.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from iacq.domain.run import RunType, Status, WarmupStatus
from iacq.domain.slot import PodStatus, SlotStatus

metadata = sa.MetaData()


def is_in(column: str, values: Iterable[str]) -> str:
    """Write a condition for a constraint or an index."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in sorted(values))})"


runs = sa.Table(
    "workspace_tasks",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("workspace_id", sa.String(50)),
    sa.Column("task_type", sa.String(20)),
    sa.Column("status", sa.String(20)),
    sa.Column("agent_id", sa.String(50)),
    sa.Column("created_at", sa.DateTime),
    sa.Column("started_at", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("completed_at", sa.DateTime),
    sa.Column("plan_hash", sa.String(64)),
    sa.Column("warmup_agent_id", sa.String(50)),
    sa.Column("warmup_pod_name", sa.String(100)),
    sa.Column("warmup_slot_id", sa.Integer),
    sa.Column("warmup_status", sa.String(20), server_default="none"),
    sa.Column("warmup_at", sa.DateTime),
    sa.Column("warmup_expires_at", sa.DateTime),
    sa.Column("warmup_retry_count", sa.Integer, server_default="0"),
    # iacq's own
    sa.Column("fence", sa.Integer),  # NULL: not written by iacq
    sa.Column("pool", sa.String(50)),
    sa.Column("priority", sa.Integer),
    sa.Column("auto_apply", sa.Boolean),
    sa.Column("message", sa.Text),
    sa.Column("requested_by", sa.String(200)),
    sa.Column("idempotency_key", sa.String(200)),
    sa.Column("request_digest", sa.String(64)),  # what the key was used for
    sa.Column("retry_of", sa.BigInteger),
    sa.Column("stage", sa.String(20)),
    sa.Column("attempt", sa.Integer),
    sa.Column("tries", sa.Integer),
    sa.Column("owner", sa.String(200)),
    sa.Column("lease_until", sa.BigInteger),
    sa.Column("queue", sa.String(100)),
    sa.Column("plan_fence", sa.Integer),
    sa.Column("warmup_fence", sa.Integer),
    sa.Column("warmup_until_ms", sa.BigInteger),
    sa.Column("effects_at_ms", sa.BigInteger),
    sa.Column("effects_fence", sa.Integer),
    sa.Column("pod_name", sa.String(100)),
    sa.Column("slot_id", sa.Integer),
    sa.Column("fingerprint", sa.JSON(none_as_null=True)),
    sa.Column("changes", sa.JSON(none_as_null=True)),
    sa.Column("timings", sa.JSON(none_as_null=True)),
    sa.Column("start_tier", sa.String(10)),
    sa.Column("confirmed_ms", sa.BigInteger),
    sa.Column("confirmed_by", sa.String(200)),
    sa.Column("confirmed_hash", sa.String(64)),
    sa.Column("confirmed_comment", sa.Text),
    sa.Column("cancel_requested_ms", sa.BigInteger),
    sa.Column("cancel_requested_by", sa.String(200)),
    sa.Column("freeze_requested_ms", sa.BigInteger),  # the pool froze: its owner is to stop; NULL with each claim
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("error_code", sa.String(50)),
    sa.Column("error_text", sa.Text),
    sa.Column("git_commit", sa.String(64)),
    sa.Column("terraform_version", sa.String(50)),
    sa.Column("created_ms", sa.BigInteger),
    sa.Column("queued_ms", sa.BigInteger),
    sa.Column("started_ms", sa.BigInteger),
    sa.Column("completed_ms", sa.BigInteger),
    sa.Column("needs_protocol", sa.Integer),  # of whoever goes on with it (`domain.versions`)
    sa.Column("tallied", sa.Integer),  # what iacq_totals has of it: 0 nothing, 1 its plan, 2 all
    sa.CheckConstraint(f"fence IS NULL OR {is_in('status', Status)}", name="ck_workspace_tasks_status"),
    sa.CheckConstraint(f"fence IS NULL OR {is_in('task_type', RunType)}", name="ck_workspace_tasks_type"),
    sa.CheckConstraint(f"fence IS NULL OR {is_in('warmup_status', WarmupStatus)}", name="ck_workspace_tasks_warmup"),
    sa.CheckConstraint(
        "fence IS NULL OR status <> 'apply_interrupted' OR effects_at_ms IS NOT NULL",
        name="ck_workspace_tasks_interrupted",
    ),
    sa.CheckConstraint(
        f"fence IS NULL OR NOT ({is_in('status', {Status.CONFIRMED, Status.APPLY_QUEUED, Status.APPLYING})})"
        " OR confirmed_ms IS NOT NULL",
        name="ck_workspace_tasks_confirmed",
    ),
    sqlite_autoincrement=True,
)

workspaces = sa.Table(
    "iacq_workspaces",
    metadata,
    sa.Column("name", sa.String(50), primary_key=True),
    sa.Column("pool", sa.String(50), nullable=False),
    sa.Column("path", sa.Text),
    sa.Column("archive", sa.Text),
    sa.Column("git_url", sa.Text),
    sa.Column("git_ref", sa.String(250)),
    sa.Column("subdir", sa.Text),
    sa.Column("auto_apply", sa.Boolean, nullable=False),
    sa.Column("variables", sa.JSON, nullable=False),
    sa.Column("var_files", sa.JSON, nullable=False),
    sa.Column("environment", sa.JSON, nullable=False),
    sa.Column("secret_names", sa.JSON, nullable=False),
    sa.Column("secret_environment", sa.JSON, nullable=False),  # names
    sa.Column("secrets", sa.LargeBinary),  # sealed JSON of both kinds
    sa.Column("terraform_version", sa.String(50)),
    sa.Column("plan_expires_ms", sa.BigInteger),
    sa.Column("locked_by", sa.String(200)),
    sa.Column("locked_reason", sa.Text),
    sa.Column("locked_ms", sa.BigInteger),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint(
        " + ".join(f"CASE WHEN {column} IS NULL THEN 0 ELSE 1 END" for column in ("path", "archive", "git_url"))
        + " = 1",
        name="ck_iacq_workspaces_source",
    ),
)

pools = sa.Table(
    "iacq_pools",
    metadata,
    sa.Column("name", sa.String(50), primary_key=True),
    sa.Column("min_pods", sa.Integer, nullable=False),
    sa.Column("max_pods", sa.Integer, nullable=False),
    sa.Column("slots_per_pod", sa.Integer, nullable=False),
    sa.Column("headroom", sa.Integer, nullable=False),  # slots
    sa.Column("idle_grace_ms", sa.BigInteger, nullable=False),
    sa.Column("template", sa.JSON(none_as_null=True)),  # of its pods, for the runtime; NULL: nothing special
    sa.Column("generation", sa.Integer, nullable=False),  # of the template; grows when its pods are to be replaced
    sa.Column("failed_count", sa.Integer, nullable=False),  # pods that failed in a row
    sa.Column("failed_first_ms", sa.BigInteger, nullable=False),  # when the first of them was asked for
    sa.Column("failed_last_ms", sa.BigInteger, nullable=False),  # when the last of them was noticed
    sa.Column("failed_reason", sa.Text),  # of the last of them
    sa.Column("frozen_ms", sa.BigInteger),  # since when it is marked frozen; NULL: open
    sa.Column("freezes_ms", sa.BigInteger),  # open: when it freezes by itself; NULL: no such moment can be seen
    sa.Column("freeze_since_ms", sa.BigInteger),  # by hand; NULL: not
    sa.Column("freeze_until_ms", sa.BigInteger),  # NULL: until it is lifted
    sa.Column("freeze_reason", sa.Text),
    sa.Column("freeze_by", sa.String(200)),
    sa.Column("bypass_since_ms", sa.BigInteger),  # NULL: there is none
    sa.Column("bypass_until_ms", sa.BigInteger),
    sa.Column("bypass_reason", sa.Text),
    sa.Column("bypass_by", sa.String(200)),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
)

freeze_windows = sa.Table(
    "iacq_freeze_windows",
    metadata,
    sa.Column("pool", sa.String(50), sa.ForeignKey("iacq_pools.name", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.String(50), primary_key=True),
    sa.Column("days", sa.String(50)),  # of every week; with from and to
    sa.Column("from", sa.String(5)),
    sa.Column("to", sa.String(5)),
    sa.Column("zone", sa.String(100), nullable=False),
    sa.Column("at", sa.BigInteger),  # ms; or once, with until
    sa.Column("until", sa.BigInteger),  # ms
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
)

freeze_events = sa.Table(
    "iacq_freeze_events",  # who changed what freezes a pool, and when it was frozen
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("pool", sa.String(50), nullable=False, index=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("action", sa.String(20), nullable=False),
    sa.Column("by", sa.String(200)),  # NULL: the clock
    sa.Column("reason", sa.Text),
    sa.Column("details", sa.Text),  # the window, or until when
)

pods = sa.Table(
    "iacq_pods",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("agent_id", sa.String(50)),  # NULL: not registered yet
    sa.Column("pool", sa.String(50), nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),  # of this status
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("runtime", sa.String(100)),  # which of them was asked for it; NULL: started by hand
    sa.Column("generation", sa.Integer),  # of its pool's template; NULL: started by hand
    sa.Column("protocol", sa.Integer),  # that its agent speaks (`domain.versions`); NULL: not registered yet
    sa.Column("reason", sa.Text),  # why it does not run, or goes
    sa.CheckConstraint(is_in("status", PodStatus), name="ck_iacq_pods_status"),
    sa.CheckConstraint("(runtime IS NULL) = (generation IS NULL)", name="ck_iacq_pods_managed"),
)

heartbeats = sa.Table(
    "iacq_heartbeats",  # narrow: written every few seconds by every pod
    metadata,
    sa.Column("pod_name", sa.String(100), primary_key=True),
    sa.Column("agent_id", sa.String(50), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)

slots = sa.Table(
    "iacq_slots",
    metadata,
    sa.Column("pod_name", sa.String(100), primary_key=True),
    sa.Column("slot_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("agent_id", sa.String(50), nullable=False),
    sa.Column("pool", sa.String(50), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("run_id", sa.BigInteger, sa.ForeignKey("workspace_tasks.id"), unique=True),
    sa.Column("task_type", sa.String(20)),
    sa.Column("closed", sa.String(20)),  # NULL: open
    sa.Column("protocol", sa.Integer, nullable=False),  # that its agent speaks
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint(is_in("status", SlotStatus), name="ck_iacq_slots_status"),
    sa.CheckConstraint("(status = 'idle') = (run_id IS NULL)", name="ck_iacq_slots_hold"),
)

outbox = sa.Table(
    "iacq_outbox",  # one row per queued phase, until its claim
    metadata,
    sa.Column("run_id", sa.BigInteger, sa.ForeignKey("workspace_tasks.id"), primary_key=True, autoincrement=False),
    sa.Column("phase", sa.String(10), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("queue", sa.String(100), nullable=False),
    sa.Column("workspace", sa.String(50), nullable=False),
    sa.Column("rings", sa.Integer, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("next_ms", sa.BigInteger, nullable=False),
)

events = sa.Table(
    "iacq_events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.BigInteger, sa.ForeignKey("workspace_tasks.id"), nullable=False, index=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("source", sa.String(20)),  # NULL: the run came into being
    sa.Column("target", sa.String(20), nullable=False),
    sa.Column("cause", sa.String(20), nullable=False),
    sa.Column("by", sa.String(200)),
    sa.Column("details", sa.Text),
)

logs = sa.Table(
    "iacq_logs",
    metadata,
    sa.Column("run_id", sa.BigInteger, sa.ForeignKey("workspace_tasks.id"), primary_key=True, autoincrement=False),
    sa.Column("phase", sa.String(10), primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),  # bytes before this chunk
    sa.Column("size", sa.Integer, nullable=False),  # bytes of UTF-8
    sa.Column("text", sa.Text, nullable=False),
)

artifacts = sa.Table(
    "iacq_artifacts",
    metadata,
    sa.Column("run_id", sa.BigInteger, sa.ForeignKey("workspace_tasks.id"), primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),  # of what was sealed
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("key", sa.String(200), nullable=False),  # in the artifact store
)

blobs = sa.Table(
    "iacq_blobs",  # the artifact store in PostgreSQL
    metadata,
    # Compared by bytes, as SQLite does anyway: what lies below a directory is then a range of the primary key.
    sa.Column("key", sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql"), primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

key_checks = sa.Table(
    "iacq_key_checks",  # a known text under each key that seals something
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # from 1, in the order of first use
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

states = sa.Table(
    "iacq_states",
    metadata,
    sa.Column("workspace_id", sa.String(50), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),  # from 1
    sa.Column("lineage", sa.String(100), nullable=False),
    sa.Column("serial", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("resources", sa.Integer, nullable=False),
    sa.Column("run_id", sa.BigInteger),  # NULL: imported or pushed by a person
    sa.Column("pushed_by", sa.String(200)),  # NULL: not pushed
    sa.Column("reason", sa.Text),  # why it was pushed
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)

working_states = sa.Table(
    "iacq_working_states",  # the state of the apply that runs now: at most a second old
    metadata,
    sa.Column("workspace_id", sa.String(50), primary_key=True),
    sa.Column("run_id", sa.BigInteger, nullable=False),
    sa.Column("lineage", sa.String(100), nullable=False),
    sa.Column("serial", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("resources", sa.Integer, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)

totals = sa.Table(
    "iacq_totals",  # what metrics count over all runs that there ever were
    metadata,
    sa.Column("metric", sa.String(60), primary_key=True),
    sa.Column("labels", sa.String(200), primary_key=True),  # JSON list
    sa.Column("value", sa.Float, nullable=False),
)

demands = sa.Table(
    "iacq_demands",  # what a process must speak to take part: the greatest counts
    metadata,
    sa.Column("protocol", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
)
