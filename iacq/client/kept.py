"""Read what runs leave: logs, plans, outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from iacq.client.base import Base
from iacq.client.pace import AWAY, POLL
from iacq.client.words import words
from iacq.domain import fields, transitions
from iacq.domain.run import Phase, Status
from iacq.errors import NotFound, Unavailable
from iacq.services import enqueuing, states, workspace_secrets
from iacq.services.core import load_artifact
from iacq.store import logs as log_rows
from iacq.store import runs as run_rows


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of a phase's log."""

    phase: Phase
    offset: int  # bytes of this phase's log up to the end of this line: resume there
    text: str  # without its newline; may hold ANSI colours


class KeptCalls(Base):
    """Calls about what a run leaves."""

    def logs(
        self, run_id: int, *, phase: Phase | str | None = None, offset: int = 0, follow: bool = False
    ) -> Iterator[LogLine]:
        """Yield the log line by line; with `follow` until the run ends, or waits for its confirmation.

        offset: bytes of that phase's log to skip (only with `phase`). Following an apply_pending run goes on once it is
        confirmed if `phase` is apply. While following, a database that goes away is waited for.
        """
        self.get(run_id)
        phases = words(Phase, [phase], "phase") if phase is not None else list(Phase)
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
                self._core.clock.sleep(AWAY)
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
                self._core.clock.sleep(POLL)
        if rest:
            yield LogLine(phase=phase, offset=offset, text=rest)

    def _is_over(self, run_id: int, phase: Phase) -> bool:
        run = self.get(run_id)
        if phase is Phase.PLAN:
            return transitions.PHASE_OF.get(run.status) is not Phase.PLAN
        if run.status is Status.APPLY_PENDING:
            return False
        return run.status in transitions.ENDED or run.status is Status.APPLY_INTERRUPTED

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
        for run in self._core.database.read(run_rows.listed, workspace=workspace, statuses=[Status.APPLIED], limit=20):
            if run.created_at >= since and enqueuing.has_artifact(self._core, run, "outputs"):
                found: dict[str, Any] = json.loads(load_artifact(self._core, workspace, run.id, "outputs"))
                return found
        raise NotFound(f"nothing was applied in workspace {workspace} yet", field="workspace")
