"""Waiting in tests: for a condition, with a deadline; never for a time."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
_PAUSE = threading.Event()  # never set: a pause that signals may interrupt
_SLOWER = 4
"""How much slower than the one that a time was written for a machine may be: a busy one is no failure."""


@contextlib.contextmanager
def at_most(seconds: float, what: str = "it") -> Iterator[None]:
    """Fail if something that must not hang takes longer. seconds: on an idle, quick machine, and generous there."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds * _SLOWER, f"{what} took {took:.1f} s"


def wait_until(condition: Callable[[], T], timeout: float = 20, what: str = "") -> T:
    """Ask `condition` until it says something true, and return that; fail with `what` and its last word.

    timeout: seconds on an idle, quick machine.
    """
    timeout *= _SLOWER
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            waited_for = what or getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"waited {timeout:g} s for: {waited_for}; the last answer was {value!r}")
        _PAUSE.wait(0.01)
    return value
