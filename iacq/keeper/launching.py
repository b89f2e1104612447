"""Start a program so that it is on disk before it runs, and never runs after its lease or against the word.

The child is forked first and waits; its pid is written; the lease is compared once more; then the child is
released. If the keeper dies in between, the child finds the pipe closed and ends, not becoming the program.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from iacq.keeper import files, process, wire
from iacq.keeper.spare import Spare


class AlreadyLaunched(Exception):  # noqa: N818 - it says what happened
    """Somebody else started this job, or may have."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A program to start."""

    directory: Path  # of the job; exists
    run_id: int
    fence: int
    phase: str
    argv: tuple[str, ...]  # absolute path of the program first
    cwd: str
    environment: Mapping[str, str]  # complete
    not_after: float  # CLOCK_BOOTTIME, seconds


def launch(order: Order, keeper: process.Process, spare: Spare | None) -> int | None:
    """Start the program; returns its pid, or None: not started, and never will be (the word is on disk).

    Uses `spare` up. Raises AlreadyLaunched; OSError if the job's files cannot be written (then it was not
    started either).
    """
    child = _prepare(order, spare)
    recorded = released = False
    try:
        recorded = not _too_late(order) and files.create_launch(
            order.directory,
            program=child.process,
            keeper=keeper,
            run_id=order.run_id,
            fence=order.fence,
            phase=order.phase,
        )
        released = recorded and not _too_late(order)
    finally:
        if released:
            child.release()
        else:
            child.abandon()
    if released:
        return child.process.pid
    if recorded:
        files.write_never(order.directory, run_id=order.run_id, fence=order.fence)
    elif not files.give_word(order.directory, run_id=order.run_id, fence=order.fence):
        raise AlreadyLaunched
    return None


def _prepare(order: Order, spare: Spare | None) -> Spare:
    """Hand the order to a child that waits for its release."""
    child = spare or Spare()
    try:
        child.prepare(directory=order.directory, argv=order.argv, cwd=order.cwd, environment=order.environment)
    except wire.Closed:
        child.abandon()
        if spare is None:
            raise ChildProcessError("the forked child died at once") from None
        return _prepare(order, None)
    return child


def _too_late(order: Order) -> bool:
    return time.clock_gettime(time.CLOCK_BOOTTIME) > order.not_after
