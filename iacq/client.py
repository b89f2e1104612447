"""Enqueue and follow runs from another service.

    from iacq.client import Client
    client = Client.from_env()
    run = client.enqueue("network", "plan_and_apply", idempotency_key="deploy-42", variables={"size": 3})
    run = client.wait(run.id, until={"apply_pending"}, timeout=600)
    client.confirm(run.id, plan_hash=run.plan_hash, by="alice")
    for line in client.logs(run.id, follow=True):
        print(line.text)

The client is trusted: it talks to the database and the broker, which `IACQ_DATABASE_URL` and `IACQ_BROKER_URL`
name. Every error is an `iacq.errors.IacqError`. If the broker is away, enqueue, confirm and cancel are stored all
the same and start when it is back.

One client serves all threads of a process, and goes on in a process that was forked off (a web server that loads the
application first): each process opens connections of its own. Fork while no call is under way.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from iacq import bootstrap
from iacq.domain import fields, transitions
from iacq.domain.queueing import Waiting
from iacq.domain.run import Phase, Run, RunType, Status
from iacq.domain.slot import Pod, Slot
from iacq.domain.workspace import Workspace
from iacq.domain.workspace_secrets import WorkspaceSecrets
from iacq.errors import InvalidInput, NotFound, Unavailable, WaitTimeout
from iacq.messages import DISPATCH
from iacq.services import (
    confirming,
    enqueuing,
    evidence,
    freeze_changes,
    freeze_views,
    key_check,
    pod_orders,
    pools,
    reencrypting,
    requests,
    retrying,
    scaling,
    state_changes,
    state_unlocking,
    states,
    views,
    workspace_secrets,
    workspaces,
)
from iacq.services.core import Core, load_artifact
from iacq.services.evidence import Evidence
from iacq.services.freeze_changes import DEFAULT_ZONE, NewWindow, Until
from iacq.services.freeze_views import Preview, Shown
from iacq.services.news import News
from iacq.services.pools import PoolChange
from iacq.services.pools import Shown as ShownPool
from iacq.services.reencrypting import Tally
from iacq.services.scaling import Decision
from iacq.services.state_unlocking import Unlock
from iacq.settings import Settings
from iacq.store import counts
from iacq.store import logs as log_rows
from iacq.store import pods as pod_rows
from iacq.store import runs as run_rows
from iacq.store import slots as slot_rows
from iacq.store import states as state_rows
from iacq.store import workspaces as workspace_rows
from iacq.store.freezes import PoolFreezes
from iacq.store.runs import Event
from iacq.store.states import Push, StateVersion

__all__ = ["Client", "LogLine"]

_Word = TypeVar("_Word", bound=enum.StrEnum)

_POLL = 0.1
"""Seconds between two looks at the database while something is followed."""
_AWAY = 0.5
"""The same while the database does not answer."""


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of a phase's log."""

    phase: Phase
    offset: int  # bytes of this phase's log up to the end of this line: resume there
    text: str  # without its newline; may hold ANSI colours


class Client:
    """Talks to one iacq. A context manager that closes it; closing is otherwise left to the end of the process."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @classmethod
    def from_env(cls, settings: Settings | None = None) -> Client:
        """Build a client from the environment (or given settings)."""
        return cls(bootstrap.client_core(settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open. The next call opens it again."""
        self._core.database.close()
        self._core.dispatcher.close()

    @functools.cached_property
    def _sealing(self) -> Core:
        """The same for what seals or opens something: its keys were compared with those in use, once."""
        key_check.require(self._core.database, self._core.sealer)
        return self._core

    def warm(self) -> None:
        """Connect to database and broker now, so that the next call is fast; a broker that is away is no error."""
        self._core.database.warm()
        bootstrap.warm_quietly(self._core)

    # runs

    def enqueue(
        self,
        workspace: str,
        run_type: RunType | str,
        *,
        variables: Mapping[str, Any] | None = None,
        var_files: Sequence[str | Path] = (),
        targets: Sequence[str] = (),
        replacements: Sequence[str] = (),
        refresh: bool = True,
        parallelism: int | None = None,
        priority: int = 0,
        idempotency_key: str | None = None,
        message: str | None = None,
        auto_apply: bool | None = None,
        supersede: bool = False,
        import_state: bool = False,
        ignore_state: bool = False,
        by: str | None = None,
    ) -> Run:
        """Store a run: `plan`, `plan_and_apply`, `destroy` or `drift`; returns it.

        variables: text means what `-var` means, anything else is passed as JSON. idempotency_key: the same key gives
        the same run. auto_apply: None is the workspace's policy. Raises InvalidInput, NotFound, Conflict, Unavailable.
        """
        given = {
            "workspace": workspace,
            "run_type": run_type,
            "variables": variables,
            "var_files": _names_of(var_files),
            "targets": targets,
            "replacements": replacements,
            "refresh": refresh,
            "parallelism": parallelism,
            "priority": priority,
            "idempotency_key": idempotency_key,
            "message": message,
            "auto_apply": auto_apply,
            "supersede": supersede,
            "import_state": import_state,
            "ignore_state": ignore_state,
        }
        request = requests.make(given, by=self._who(by))
        return enqueuing.enqueue(self._sealing, request)

    def retry(
        self, run_id: int, *, import_state: bool = False, ignore_state: bool = False, by: str | None = None
    ) -> Run:
        """Ask again for what an ended run asked for: the same inputs, the source as it is now; returns the new run.

        Its plan is a new one and waits for a confirmation, whatever the policy. Raises Conflict, NotFound.
        """
        return retrying.retry(
            self._sealing,
            run_id,
            by=self._who(by),
            import_state=import_state,
            ignore_state=ignore_state,
        )

    def get(self, run_id: int) -> Run:
        """Return a run. Raises NotFound."""
        return confirming.get_run(self._core, run_id)

    def list(
        self,
        *,
        workspace: str | None = None,
        status: Collection[Status | str] | None = None,
        limit: int | None = 50,
    ) -> Sequence[Run]:
        """Return runs, newest first."""
        statuses = None if status is None else _words(Status, status, "status")
        return self._core.database.read(run_rows.listed, workspace=workspace, statuses=statuses, limit=limit)

    def wait(self, run_id: int, *, until: Collection[Status | str] = (), timeout: float | None = None) -> Run:
        """Wait until the run has one of these states or any end; returns it.

        timeout: seconds; None waits for ever. A database that goes away meanwhile is waited for. Raises WaitTimeout,
        NotFound, and Unavailable if the database does not answer at the beginning.
        """
        wanted = _words(Status, until, "until") | transitions.ENDED
        clock = self._core.clock
        deadline = None if timeout is None else clock.monotonic() + timeout
        run, away = self.get(run_id), ""
        while run.status not in wanted:
            if deadline is not None and clock.monotonic() >= deadline:
                raise WaitTimeout(f"run {run_id} is {run.status} after {timeout:g} s{away}", field="timeout")
            clock.sleep(_AWAY if away else _POLL)
            try:
                run, away = self.get(run_id), ""
            except Unavailable as error:
                away = f", as far as is known: {error.message}"
        return run

    def confirm(self, run_id: int, *, plan_hash: str, by: str | None = None, comment: str | None = None) -> Run:
        """Confirm the plan with this hash (or its first 12 digits or more). Idempotent. Raises Conflict."""
        seen, said = fields.text(plan_hash, "plan_hash"), fields.optional_text(comment, "comment")
        return confirming.confirm(self._core, run_id, plan_hash=seen, by=self._who(by), comment=said)

    def discard(self, run_id: int, *, by: str | None = None) -> Run:
        """Discard an unconfirmed plan. Raises Conflict."""
        return confirming.discard(self._core, run_id, by=self._who(by))

    def cancel(self, run_id: int, *, force: bool = False, by: str | None = None) -> Run:
        """Cancel a run; `force` once terraform may have begun to apply. Raises Conflict."""
        return confirming.cancel(self._core, run_id, by=self._who(by), force=force)

    def resolve(self, run_id: int, *, applied: bool, comment: str, force: bool = False, by: str | None = None) -> Run:
        """Say how an interrupted apply ended. Raises Conflict while its terraform may be alive."""
        said = fields.text(comment, "comment")
        return confirming.resolve(self._core, run_id, applied=applied, by=self._who(by), comment=said, force=force)

    def _who(self, by: str | None) -> str:
        return fields.text(by or self._core.settings.who, "by", longest=200)

    def waiting(self, run: Run) -> Waiting | None:
        """Say why a run waits; None if it does not."""
        return views.waiting_of(self._core, run)

    def to_json(self, run: Run) -> dict[str, Any]:
        """Show a run with the keys that `--json` prints."""
        return views.run_to_json(run, self.waiting(run))

    def events(self, run_id: int) -> Sequence[Event]:
        """Return what happened to a run, oldest first."""
        self.get(run_id)
        return self._core.database.read(run_rows.events_of, run_id)

    def news(self) -> News:
        """Begin to follow what happens to all runs: its `fresh` returns what happened since its last call."""
        return News(self._core)

    def unended(self) -> int:
        """Count the runs that have not ended."""
        return self._core.database.read(counts.unended_runs)

    def evidence(self, run_id: int) -> Evidence | None:
        """Return what is known about an interrupted apply; None if the run's apply was never interrupted."""
        return evidence.gather(self._core, self.get(run_id))

    def logs(
        self, run_id: int, *, phase: Phase | str | None = None, offset: int = 0, follow: bool = False
    ) -> Iterator[LogLine]:
        """Yield the log line by line; with `follow` until the run ends, or waits for its confirmation.

        offset: bytes of that phase's log to skip (only with `phase`). Following an apply_pending run goes on once it is
        confirmed if `phase` is apply. While following, a database that goes away is waited for.
        """
        self.get(run_id)
        phases = _words(Phase, [phase], "phase") if phase is not None else list(Phase)
        begin = fields.whole(offset, "offset") if phase is not None else 0
        for present in phases:
            yield from self._logs_of(run_id, present, begin, follow=follow)

    def _logs_of(self, run_id: int, phase: Phase, offset: int, *, follow: bool) -> Iterator[LogLine]:
        database, rest = self._core.database, ""
        while True:
            # The state is read before the log: what a finished phase wrote is there when its end is seen.
            try:
                over = not follow or self._is_over(run_id, phase)
                chunks = database.read(log_rows.read, run_id, phase=phase, offset=offset)
            except Unavailable:
                if not follow:
                    raise
                self._core.clock.sleep(_AWAY)
                continue
            for chunk in chunks:
                offset = chunk.end
                *lines, rest = (rest + chunk.text).split("\n")
                end = offset - len(rest.encode()) - sum(len(line.encode()) + 1 for line in lines)
                for line in lines:
                    end += len(line.encode()) + 1
                    yield LogLine(phase=phase, offset=end, text=line)
            if not chunks and over:
                break
            if not chunks:
                self._core.clock.sleep(_POLL)
        if rest:
            yield LogLine(phase=phase, offset=offset, text=rest)

    def _is_over(self, run_id: int, phase: Phase) -> bool:
        run = self.get(run_id)
        if phase is Phase.PLAN:
            return transitions.PHASE_OF.get(run.status) is not Phase.PLAN
        if run.status is Status.APPLY_PENDING:
            return False
        return run.status in transitions.ENDED or run.status is Status.APPLY_INTERRUPTED

    # what runs store

    def plan_text(self, run_id: int) -> str:
        """Return the diff as terraform shows it (ANSI colours). Raises NotFound if nothing was planned."""
        run = self.get(run_id)
        return load_artifact(self._sealing, run.workspace, run.id, "diff").decode()

    def plan_json(self, run_id: int) -> dict[str, Any]:
        """Return `terraform show -json` of the plan. Raises NotFound if nothing was planned."""
        run = self.get(run_id)
        found: dict[str, Any] = json.loads(load_artifact(self._sealing, run.workspace, run.id, "plan_json"))
        return found

    def outputs(self, workspace: str) -> dict[str, Any]:
        """Return the outputs: name → {value, type, sensitive}. Raises NotFound before the first apply.

        From the managed state, sensitive ones included; else as terraform printed them, those left out. One that holds
        a secret of the workspace counts as sensitive.
        """
        hide = workspace_secrets.masking_of(self._sealing, workspace)
        return {
            name: {**output, "sensitive": output.get("sensitive") or hide.value(output) != output}
            for name, output in self._outputs(workspace).items()
        }

    def _outputs(self, workspace: str) -> dict[str, Any]:
        kept = states.outputs(self._sealing, workspace)
        if kept is not None:
            return kept
        since = self.workspace(workspace).created_at  # an earlier workspace of that name may have left runs
        for run in self.list(workspace=workspace, status=[Status.APPLIED], limit=20):
            if run.created_at >= since and enqueuing.has_artifact(self._core, run, "outputs"):
                found: dict[str, Any] = json.loads(load_artifact(self._core, workspace, run.id, "outputs"))
                return found
        raise NotFound(f"nothing was applied in workspace {workspace} yet", field="workspace")

    # workspaces

    def create_workspace(
        self,
        workspace: Workspace,
        *,
        secret_variables: Mapping[str, str] | None = None,
        secret_environment: Mapping[str, str] | None = None,
    ) -> Workspace:
        """Store a new workspace. Raises InvalidInput, Conflict.

        Secrets are stored encrypted and masked in logs. Variables are frozen with each run; the environment is read
        anew by each phase, so that a credential may change between a plan and its apply.
        """
        secrets = WorkspaceSecrets(variables=secret_variables or {}, environment=secret_environment or {})
        return workspaces.create(self._sealing, workspace, secrets=secrets)

    def update_workspace(
        self,
        name: str,
        *,
        secret_variables: Mapping[str, str] | None = None,
        secret_environment: Mapping[str, str] | None = None,
        remove_secrets: Collection[str] = (),
        **changes: Any,
    ) -> Workspace:
        """Change fields of a workspace (those of `iacq.domain.workspace.Workspace`).

        Secrets are added or replaced by name, or removed; the others stay.
        """
        unknown = changes.keys() - {field.name for field in dataclasses.fields(Workspace)}
        if unknown:
            raise InvalidInput(f"a workspace has no field {min(unknown)}", field=min(unknown))
        changed = dataclasses.replace(self.workspace(name), **changes)
        added = WorkspaceSecrets(variables=secret_variables or {}, environment=secret_environment or {})
        return workspaces.update(self._sealing, changed, added=added, removed=remove_secrets)

    def workspace(self, name: str) -> Workspace:
        """Return a workspace. Raises NotFound."""
        return self._core.database.read(workspace_rows.get, name)

    def workspaces(self) -> Sequence[Workspace]:
        """Return all workspaces by name."""
        return self._core.database.read(workspace_rows.listed)

    def delete_workspace(self, name: str, *, force: bool = False) -> None:
        """Remove a workspace. Raises Conflict with unended runs, or with resources in its state unless forced."""
        self._core.database.run(workspace_rows.delete, name, force=force)

    def lock_workspace(self, name: str, *, reason: str, by: str | None = None) -> Workspace:
        """Hold the dispatch of state-changing runs. Raises Conflict if somebody holds it already."""
        return self._core.database.run(
            workspace_rows.lock, name, by=self._who(by), reason=fields.text(reason, "reason")
        )

    def unlock_workspace(self, name: str) -> Workspace:
        """Let state-changing runs go on."""
        unlocked = self._core.database.run(workspace_rows.unlock, name)
        self._core.ring_control(DISPATCH)
        return unlocked

    def reencrypt(self, report: Callable[[Tally], None]) -> Sequence[Tally]:
        """Seal everything stored with the first key, beside a running system.

        report: told how far a long one is. If no tally has anything left, the other keys need not be given any more.
        """
        return reencrypting.reencrypt(self._sealing, report)

    # freezes

    def freezes(self, pool: str | None = None) -> Sequence[Shown]:
        """Return what freezes a pool, or each of them, with what was changed last. Raises NotFound."""
        return freeze_views.listed(self._core, freeze_changes.names(self._core, [] if pool is None else [pool]))

    def preview_freezes(self, pool: str, *, days: int = 7) -> Preview:
        """Say when a pool will be frozen, from now on. Raises NotFound, InvalidInput."""
        return freeze_views.preview(self._core, pool, days=fields.whole(days, "--days"))

    def add_freeze_window(self, pool: str, window: NewWindow, *, by: str | None = None) -> PoolFreezes:
        """Add a window to a pool; in force at once. Raises InvalidInput, NotFound, Conflict."""
        return freeze_changes.add_window(self._core, pool, window, by=self._who(by))

    def remove_freeze_window(self, pool: str, name: str, *, by: str | None = None) -> PoolFreezes:
        """Remove a window from a pool. Raises NotFound."""
        return freeze_changes.remove_window(self._core, pool, name, by=self._who(by))

    def freeze(
        self, pool: str, *, reason: str, until: str | None = None, zone: str = DEFAULT_ZONE, by: str | None = None
    ) -> PoolFreezes:
        """Freeze a pool now, which ends a bypass. until: `2h`, or a date and time by the clocks of `zone`; None: until
        it is lifted. Raises InvalidInput, NotFound.
        """
        end = None if until is None else Until(text=fields.text(until, "until"), zone=zone)
        said = fields.text(reason, "reason")
        return freeze_changes.freeze_now(self._core, pool, until=end, reason=said, by=self._who(by))

    def lift_freeze(self, pool: str, *, reason: str, by: str | None = None) -> PoolFreezes:
        """End a freeze by hand. Raises InvalidInput, NotFound, and Conflict if there is none."""
        return freeze_changes.lift(self._core, pool, reason=fields.text(reason, "reason"), by=self._who(by))

    def bypass_freeze(
        self, pool: str, *, until: str, reason: str, zone: str = DEFAULT_ZONE, by: str | None = None
    ) -> PoolFreezes:
        """Lift whatever freezes a pool until then (see `freeze`); it is kept who did it. Raises as `freeze` does."""
        end = Until(text=fields.text(until, "until"), zone=zone)
        said = fields.text(reason, "reason")
        return freeze_changes.bypass(self._core, pool, until=end, reason=said, by=self._who(by))

    # pools

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

    # the fleet and states

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


def _words(kind: type[_Word], given: Iterable[_Word | str], field: str) -> set[_Word]:
    """Read states or phases. Raises InvalidInput that names the one that is none."""
    if isinstance(given, str):
        given = [given]
    try:
        return {kind(value) for value in given}
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{field}: {error}", field=field, hint=f"one of {', '.join(kind)}") from None


def _names_of(files: Sequence[str | Path]) -> object:
    """Return paths as texts; what is no list of paths is left for the check of the request."""
    if isinstance(files, str | bytes) or not isinstance(files, Sequence):
        return files
    return [str(file) if isinstance(file, Path) else file for file in files]
