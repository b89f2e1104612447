"""A client whose runs are scripted: each look at a run takes the next state of its story."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from iacq.client import LogLine
from iacq.domain import transitions
from iacq.domain.queueing import Waiting
from iacq.domain.run import Changes, Phase, Run, RunType, StartTier, Status
from iacq.domain.workspace import Workspace
from iacq.errors import Conflict, NotFound, WaitTimeout
from iacq.services import views
from iacq.services.evidence import Evidence
from tests import samples

HASH = "0a1b2c3d4e5f" + "0" * 52
TIMINGS = {"plan": {"init": 1234, "terraform": 300}, "apply": {"init": 0, "terraform": 200}}


def make_run(**changed: Any) -> Run:
    """Build a run of workspace `net`."""
    return samples.run(**{"id": 42, "workspace": "net", "created_at": 1_700_000_000_000, **changed})


class FakeClient:
    """What commands ask of `iacq.client.Client`, without a database.

    plan_ends, apply_ends: fields of the run after each phase. logged: the lines of each phase; an exception in
    them is raised there.
    """

    def __init__(
        self,
        *,
        run: Run | None = None,
        plan_ends: dict[str, Any] | None = None,
        apply_ends: dict[str, Any] | None = None,
        logged: dict[Phase, Sequence[str | BaseException]] | None = None,
        waits: Sequence[str] = (),
        control: bool = True,
        plan: dict[str, Any] | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        self.run = run or make_run()
        self.calls: list[tuple[str, Any]] = []
        self._ends = {
            Phase.PLAN: plan_ends
            or {
                "status": Status.APPLY_PENDING,
                "plan_hash": HASH,
                "changes": Changes(add=1, change=0, destroy=2),
            },
            Phase.APPLY: apply_ends
            or {"status": Status.APPLIED, "start_tier": StartTier.HOT, "timings": TIMINGS, "queue": None},
        }
        self._logged = logged or {
            Phase.PLAN: ["Plan: 1 to add"],
            Phase.APPLY: ["\033[1mApply complete!\033[0m"],
        }
        self._waits = list(waits)
        self._control = control
        self._plan = plan or {}
        self._evidence = evidence

    def called(self, name: str) -> list[Any]:
        return [arguments for called, arguments in self.calls if called == name]

    def warm(self) -> None:
        self.calls.append(("warm", None))

    def enqueue(self, workspace: str, run_type: RunType, **asked: Any) -> Run:
        self.calls.append(("enqueue", {"workspace": workspace, "run_type": run_type, **asked}))
        self._change(workspace=workspace, run_type=RunType(run_type), auto_apply=bool(asked.get("auto_apply")))
        return self.run

    def get(self, run_id: int) -> Run:
        if run_id != self.run.id:
            raise NotFound(f"there is no run {run_id}", field="run", hint="`iacq runs` shows them")
        return self.run

    def list(self, **asked: Any) -> Sequence[Run]:
        self.calls.append(("list", asked))
        return [self.run]

    def wait(self, run_id: int, *, until: set[Status], timeout: float | None = None) -> Run:
        if self._waits or (self.run.status not in until | transitions.ENDED and timeout and self._stuck()):
            raise WaitTimeout
        if self.run.status in (Status.PENDING, Status.PLAN_QUEUED):
            self._change(status=Status.PLANNING, queue="local-1.2")
        elif self.run.status in (Status.CONFIRMED, Status.APPLY_QUEUED):
            self._change(status=Status.APPLYING, queue="local-1.2")
        return self.run

    def _stuck(self) -> bool:
        return self.run.status is Status.APPLY_PENDING

    def waiting(self, run: Run) -> Waiting | None:
        if self._waits:
            return Waiting(code="behind_run", text=self._waits.pop(0))
        return None

    def logs(
        self, run_id: int, *, phase: Phase | None = None, offset: int = 0, follow: bool = False
    ) -> Iterator[LogLine]:
        self.calls.append(("logs", {"phase": phase, "offset": offset, "follow": follow}))
        at = offset
        for present in [Phase(phase)] if phase else list(Phase):
            for line in self._logged.get(present, ()):
                if isinstance(line, BaseException):
                    raise line
                at += len(line) + 1
                yield LogLine(phase=present, offset=at, text=line)
            if follow:
                self._end(present)

    def _end(self, phase: Phase) -> None:
        self._change(**self._ends[phase])
        if phase is Phase.PLAN and self.run.auto_apply and self.run.status is Status.APPLY_PENDING:
            self._change(status=Status.CONFIRMED, confirmed_at=1_700_000_001_000, confirmed_by="alice")

    def _change(self, **values: Any) -> None:
        self.run = dataclasses.replace(self.run, **values)

    def confirm(self, run_id: int, *, plan_hash: str, comment: str | None = None) -> Run:
        self.calls.append(("confirm", {"plan_hash": plan_hash, "comment": comment}))
        if self.get(run_id).status is not Status.APPLY_PENDING:
            raise Conflict(f"run {run_id} does not wait for a confirmation: it is {self.run.status}", field="run")
        self._change(status=Status.CONFIRMED, confirmed_at=1_700_000_001_000, confirmed_by="alice")
        return self.run

    def discard(self, run_id: int) -> Run:
        self.calls.append(("discard", run_id))
        self._change(status=Status.DISCARDED)
        return self.run

    def cancel(self, run_id: int, *, force: bool = False) -> Run:
        self.calls.append(("cancel", {"force": force}))
        self._change(status=Status.CANCELLED)
        return self.run

    def retry(self, run_id: int, *, import_state: bool = False, ignore_state: bool = False) -> Run:
        self.calls.append(("retry", {"run_id": run_id, "import_state": import_state, "ignore_state": ignore_state}))
        self._change(retry_of=run_id)
        return self.run

    def events(self, run_id: int) -> Sequence[Any]:
        self.get(run_id)
        return []

    def evidence(self, run_id: int) -> Evidence | None:
        self.get(run_id)
        return self._evidence

    def to_json(self, run: Run) -> dict[str, Any]:
        return views.run_to_json(run, None)

    def plan_json(self, run_id: int) -> dict[str, Any]:
        return self._plan

    def plan_text(self, run_id: int) -> str:
        return "\033[32m+\033[0m terraform_data.a\n"

    def control_seen(self) -> bool:
        return self._control

    def workspace(self, name: str) -> Workspace:
        return Workspace(
            name=name, pool="default", path="/src", auto_apply=False, variables={"a": "1"}, secret_environment=("B",)
        )

    def create_workspace(self, workspace: Workspace, **secrets: dict[str, str]) -> Workspace:
        self.calls.append(("create_workspace", (workspace, secrets)))
        return workspace

    def update_workspace(self, name: str, **changes: Any) -> Workspace:
        self.calls.append(("update_workspace", changes))
        return self.workspace(name)

    def outputs(self, workspace: str) -> dict[str, Any]:
        return {
            "name": {"value": "x", "type": "string", "sensitive": False},
            "token": {"value": "hush", "type": "string", "sensitive": True},
        }
