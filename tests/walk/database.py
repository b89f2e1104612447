"""A database before whose transactions its users pause, which may fail them, and that looks at every commit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar
from zlib import crc32

import sqlalchemy as sa

from iacq.errors import Unavailable
from iacq.store import schema
from iacq.store.session import DATABASE_UNAVAILABLE, Database, Kind, Transaction
from tests.walk.actors import Fault, StageClock

P = ParamSpec("P")
T = TypeVar("T")
Step = Callable[..., Any]
Replaced = Mapping[Step, Step]
"""What is run where the product asks for a step or a question: how a mutant differs."""

_FIRST_NUMBERS = "DELETE FROM sqlite_sequence"
_FIRST_ID = "SELECT setval(pg_get_serial_sequence('workspace_tasks', 'id'), 1, false)"


class StageDatabase(Database):
    """Real, with a virtual clock. Whoever is no actor does not pause."""

    def __init__(self, url: str, *, clock: StageClock) -> None:
        super().__init__(url, clock=clock.now_ms)
        self.replaced: Replaced = {}
        self.look: Callable[[], None] = lambda: None
        self.transactions = 0
        self._clock_of_all = clock
        self._stage = clock.stage
        self._name = ""
        self._looking = False

    def attempt(self, step: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        return super().attempt(self._known(step), *args, **kwargs)

    def run(self, step: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = super().run(self._known(step), *args, **kwargs)
        return found

    def run_statement(self, step: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = super().run_statement(self._known(step), *args, **kwargs)
        return found

    def read(self, question: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = super().read(self._known(question), *args, **kwargs)
        return found

    def read_at_once(self, question: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = super().read_at_once(self._known(question), *args, **kwargs)
        return found

    def _known(self, step: Step) -> Step:
        if not self._looking:
            self._name = f"{step.__module__.rpartition('.')[2]}.{step.__name__}"
        return self.replaced.get(step, step)

    def clear(self) -> None:
        """Begin anew, with no rows, at the first moment: statements that were compiled are kept, and that is faster."""
        self._clock_of_all.reset()
        self.look = lambda: None
        self.replaced = {}
        self.transactions = 0
        with self.aside(), self.transaction() as tx:
            for table in reversed(schema.metadata.sorted_tables):
                tx.execute(table.delete())
            tx.execute(sa.text(_FIRST_NUMBERS if self.is_sqlite else _FIRST_ID))

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Ask something that nobody of the system asks."""
        before, self._looking = self._looking, True
        try:
            yield
        finally:
            self._looking = before

    @contextlib.contextmanager
    def _translating(self, kind: Kind) -> Iterator[Transaction]:
        actor = self._stage.current
        if actor is None or self._looking:
            with super()._translating(kind) as tx:
                yield tx
            return
        writes = kind in (Kind.STEP, Kind.STATEMENT)
        name, self._name = self._name or "a transaction", ""
        # A question is one thing with what follows it, but now and then something happens in between.
        if writes or crc32(f"{actor.name}/{name}/{actor.steps}".encode()) % 3 == 0:
            self._stage.pause(name, writes=writes)
        actor.steps += 1
        fault, actor.fault = actor.fault, None
        if fault is Fault.AWAY:
            raise _unavailable(fault)
        with super()._translating(kind) as tx:
            yield tx
        self.transactions += 1
        if writes:
            with self.aside():
                self.look()
        if fault is Fault.LOST_ANSWER:
            raise _unavailable(fault)


def _unavailable(fault: Fault) -> Unavailable:
    return Unavailable(fault.value, code=DATABASE_UNAVAILABLE)
