"""Enqueue, decide, and look at runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from iacq.client.base import Base
from iacq.client.pace import AWAY, POLL
from iacq.client.words import names_of, words
from iacq.domain import fields, transitions
from iacq.domain.queueing import Waiting
from iacq.domain.run import Run, RunType, Status
from iacq.errors import Unavailable, WaitTimeout
from iacq.services import confirming, enqueuing, evidence, requests, retrying, views
from iacq.services.evidence import Evidence
from iacq.services.news import News
from iacq.store import counts
from iacq.store import runs as run_rows
from iacq.store.runs import Event


class RunCalls(Base):
    """Calls about runs."""

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
            "var_files": names_of(var_files),
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

    def list(
        self,
        *,
        workspace: str | None = None,
        status: Collection[Status | str] | None = None,
        limit: int | None = 50,
    ) -> Sequence[Run]:
        """Return runs, newest first."""
        statuses = None if status is None else words(Status, status, "status")
        return self._core.database.read(run_rows.listed, workspace=workspace, statuses=statuses, limit=limit)

    def wait(self, run_id: int, *, until: Collection[Status | str] = (), timeout: float | None = None) -> Run:
        """Wait until the run has one of these states or any end; returns it.

        timeout: seconds; None waits for ever. A database that goes away meanwhile is waited for. Raises WaitTimeout,
        NotFound, and Unavailable if the database does not answer at the beginning.
        """
        wanted = words(Status, until, "until") | transitions.ENDED
        clock = self._core.clock
        deadline = None if timeout is None else clock.monotonic() + timeout
        run, away = self.get(run_id), ""
        while run.status not in wanted:
            if deadline is not None and clock.monotonic() >= deadline:
                raise WaitTimeout(f"run {run_id} is {run.status} after {timeout:g} s{away}", field="timeout")
            clock.sleep(AWAY if away else POLL)
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
