"""Seal everything stored with the first key, so that the others can be given up.

Safe beside a running system, and again after an interruption: each thing is replaced by compare-and-set, and what the
first key sealed already is left alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from iacq.errors import NotFound, PhaseFailed
from iacq.services import key_check, states, workspace_secrets
from iacq.services.core import Core, bound_to
from iacq.store import artifacts, key_checks, sealed_rows
from iacq.store.sealed_rows import Key, Kind

_TRIES = 10
Rewrite = Callable[[], bool]
"""Seals one thing anew, and tells whether that was needed."""
ARTIFACTS = "artifacts"
_BOUND = {Kind.SECRETS: workspace_secrets.bound, Kind.STATES: states.bound, Kind.WORKING_STATES: states.bound}


@dataclass(kw_only=True)
class Tally:
    """What was found of one kind."""

    kind: str
    seen: int = 0
    rewritten: int = 0
    left: list[str] = field(default_factory=list)  # why some could not be sealed anew


def reencrypt(core: Core, report: Callable[[Tally], None], *, batch: int = 100) -> list[Tally]:
    """Do it; returns a tally of each kind. If nothing is left, the other keys need not be given any more.

    report: told how far it is, between two batches. batch: keys that are listed at a time; each thing has
    transactions of its own. Raises InvalidInput(code=wrong_key), Unavailable.
    """
    key_check.require(core.database, core.sealer)
    before = core.database.read(key_checks.listed)
    work = {ARTIFACTS: _artifacts(core, batch), **{kind.value: _rows(core, kind, batch) for kind in Kind}}
    tallies = [_do(Tally(kind=kind), batches, report) for kind, batches in work.items()]
    if not any(tally.left for tally in tallies):
        unused = [number for number, sealed in before.items() if core.sealer.reseal_needed(sealed)]
        core.database.run(key_checks.forget, unused)
    return tallies


def _do(tally: Tally, batches: Iterator[list[Rewrite]], report: Callable[[Tally], None]) -> Tally:
    for batch in batches:
        if tally.seen:
            report(tally)
        for rewrite in batch:
            tally.seen += 1
            try:
                tally.rewritten += rewrite()
            except NotFound:
                continue  # removed meanwhile
            except PhaseFailed as error:
                tally.left.append(error.message)
    return tally


def _rows(core: Core, kind: Kind, limit: int) -> Iterator[list[Rewrite]]:
    after: Key | None = None
    while batch := core.database.read(sealed_rows.keys, kind, after=after, limit=limit):
        yield [functools.partial(_rewrite_row, core, kind, key) for key in batch]
        after = batch[-1]


def _rewrite_row(core: Core, kind: Kind, key: Key) -> bool:
    bound = _BOUND[kind](key[0])
    for _ in range(_TRIES):
        seen = core.database.read(sealed_rows.get, kind, key)
        if seen is None or not core.sealer.reseal_needed(seen):
            return False
        sealed = core.sealer.seal(core.sealer.open(seen, bound_to=bound), bound_to=bound)
        if core.database.run(sealed_rows.replace, kind, key, seen=seen, sealed=sealed):
            return True
    raise PhaseFailed(f"{bound}: somebody changes it all the time", code="raced")


def _artifacts(core: Core, limit: int) -> Iterator[list[Rewrite]]:
    after: Key | None = None
    while batch := core.database.read(sealed_rows.artifacts_after, after=after, limit=limit):
        yield [functools.partial(_rewrite_artifact, core, *found) for found in batch]
        after = batch[-1][1:3]


def _rewrite_artifact(core: Core, workspace: str, run_id: int, kind: str, key: str) -> bool:
    sealed = core.artifacts.get(key)
    if not core.sealer.reseal_needed(sealed):
        return False
    bound = bound_to(workspace, run_id, kind)
    # What is stored under one key never changes, so that nothing newer can be overwritten.
    core.artifacts.put(key, core.sealer.seal(core.sealer.open(sealed, bound_to=bound), bound_to=bound))
    present = core.database.read(artifacts.find, run_id, kind)
    if present is None or present.key != key:
        core.artifacts.delete(key)  # nobody refers to it any more: it must not come back
    return True
