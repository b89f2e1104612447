"""People who use the system meanwhile: they enqueue, read, confirm, discard, cancel, retry and resolve."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from iacq.client import Client
from iacq.domain import transitions
from iacq.domain.run import Run, RunType, Status
from iacq.errors import IacqError
from tests.chaos.journal import Journal, now_ms
from tests.chaos.schedule import Kind

TURN = 0.25
"""Seconds between two looks."""
MOST_WAITING = 2
"""Runs of one workspace that have not ended."""


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What people do with the run of one number. Times are seconds."""

    run_type: RunType
    pause: float  # that each of its resources takes
    discard: bool
    thinking: float  # from the plan to the confirmation
    cancel_after: float | None  # since it was enqueued; None: it is not cancelled
    retry: bool  # if it fails or is cancelled
    repeat: bool  # the confirmation is given twice, and the key is used twice


def fate(seed: int, number: int, *, slow: bool) -> Fate:
    """Decide about a run. The same seed and number give the same."""
    rng = random.Random(f"fate {seed} {number}")
    return Fate(
        run_type=rng.choices([RunType.PLAN_AND_APPLY, RunType.PLAN, RunType.DRIFT], [18, 1, 1])[0],
        pause=round(rng.uniform(6, 12) if slow else rng.choice([0, 0.5, 1.5, 3]), 2),
        discard=rng.random() < 0.06,
        thinking=rng.choice([0, 0, 0.5, 2, 6]),
        cancel_after=rng.uniform(0.2, 20) if rng.random() < 0.06 else None,
        retry=rng.random() < 0.5,
        repeat=rng.random() < 0.2,
    )


@dataclass(kw_only=True)
class Asked:
    """What the people were promised."""

    enqueued: dict[str, int] = field(default_factory=dict)  # token → run, as the answer said
    confirmed: set[int] = field(default_factory=set)  # runs whose confirmation was answered
    tokens: dict[int, str] = field(default_factory=dict)  # run → token, of retried ones too


class Load:
    """A thread. `stop_enqueuing`, then `is_over` once everything has ended, then `stop`."""

    def __init__(self, client: Client, journal: Journal, seed: int) -> None:
        self.asked = Asked()
        self.refused = 0  # calls that were answered with an error
        self._client, self._journal, self._seed = client, journal, seed
        self._rng = random.Random(f"load {seed}")
        self._numbers: dict[int, Fate] = {}  # by run
        self._open: dict[str, tuple[str, Fate]] = {}  # workspace → token that was not answered
        self._next = 0
        self._planned_at: dict[int, float] = {}
        self._retried: set[int] = set()
        self._enqueuing = True
        self._left: int | None = None
        self._over = threading.Event()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="load", daemon=True)

    def start(self) -> None:
        self._workspaces = [workspace.name for workspace in self._client.workspaces()]
        self._thread.start()

    def stop_enqueuing(self) -> None:
        """Ask for nothing more; what was asked for is still confirmed and so on."""
        self._enqueuing = False

    def is_over(self) -> bool:
        """Tell whether every run has ended. Raises what ended the thread."""
        if self.failure is not None:
            raise self.failure
        return self._left == 0 and not self._open

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            while not self._over.wait(TURN):
                self._try(self._turn)
        except BaseException as error:  # noqa: BLE001 - raised by is_over
            self.failure = error

    def _try(self, act: Callable[[], object]) -> None:
        """Do it; what is refused or cannot be asked is looked at again at the next turn."""
        try:
            act()
        except IacqError:
            self.refused += 1

    def _turn(self) -> None:
        living = self._client.list(status=set(Status) - transitions.ENDED, limit=None)
        self._left = len(living)
        for run in living:
            if self._knows(run):
                self._try(lambda run=run: self._decide(run, self._numbers[run.id]))
        if self._enqueuing:
            self._try(self._retry_one)
        for name in self._workspaces:
            waiting = sum(run.workspace == name for run in living)
            if name in self._open or (self._enqueuing and waiting < MOST_WAITING and self._rng.random() < 0.3):
                self._try(lambda name=name: self._enqueue(name))

    def _enqueue(self, workspace: str) -> None:
        if workspace not in self._open:
            self._next += 1
            slow = workspace.startswith("slow")
            self._open[workspace] = (f"t{self._next}", fate(self._seed, self._next, slow=slow))
        token, found = self._open[workspace]
        for _ in range(1 + found.repeat):
            run = self._client.enqueue(
                workspace,
                found.run_type,
                variables={"token": token, "pause": found.pause},
                idempotency_key=token,  # asked again after an error, it is the same run
            )
            self._remember(run, token, found)
        del self._open[workspace]

    def _remember(self, run: Run, token: str, found: Fate) -> None:
        if self.asked.enqueued.setdefault(token, run.id) != run.id:
            raise AssertionError(f"{token} was answered with run {self.asked.enqueued[token]}, then with run {run.id}")
        self.asked.tokens[run.id] = token
        self._numbers[run.id] = found

    def _decide(self, run: Run, found: Fate) -> None:
        if run.status is Status.APPLY_INTERRUPTED:
            evidence = self._client.evidence(run.id)
            if evidence is not None and evidence.end_proven:
                self._client.resolve(run.id, applied=False, comment="its worker was lost")
        elif found.cancel_after is not None and now_ms() - run.created_at > found.cancel_after * 1000:
            self._cancel(run)
        elif run.status is Status.APPLY_PENDING:
            since = self._planned_at.setdefault(run.id, time.monotonic())
            if time.monotonic() - since >= found.thinking:
                self._answer(run, found)

    def _cancel(self, run: Run) -> None:
        if run.cancel_requested_at is None:
            entry = self._journal.begin(Kind.CANCEL, f"run {run.id} ({run.status})", [run.id])
            self._client.cancel(run.id, force=True)
            self._journal.end(entry)

    def _answer(self, run: Run, found: Fate) -> None:
        if found.discard:
            self._client.discard(run.id)
            return
        for _ in range(1 + found.repeat):
            self._client.confirm(run.id, plan_hash=run.plan_hash or "")
            self.asked.confirmed.add(run.id)

    def _retry_one(self) -> None:
        for run in self._client.list(status=[Status.FAILED, Status.CANCELLED], limit=20):
            found = self._numbers.get(run.id)
            if found and found.retry and run.retry_of is None and run.id not in self._retried:
                self._retried.add(run.id)
                self._knows(self._client.retry(run.id))
                return

    def _knows(self, run: Run) -> bool:
        """Learn of a retry, also of one whose answer was lost."""
        if run.id not in self._numbers and run.retry_of in self._numbers:
            self._numbers[run.id] = self._numbers[run.retry_of]
            self.asked.tokens[run.id] = self.asked.tokens[run.retry_of]
        return run.id in self._numbers
