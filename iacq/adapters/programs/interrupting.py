"""What signals mean to a program in the foreground. Only the main thread may say so; elsewhere nothing changes."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, as ^C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with _handled({signal.SIGTERM, signal.SIGHUP}, interrupt):
        yield


@contextlib.contextmanager
def signals_as_hurry(hurry: Callable[[], object]) -> Iterator[None]:
    """Make a further ^C or SIGTERM call `hurry`, while something is being stopped."""
    with _handled({signal.SIGINT, signal.SIGTERM, signal.SIGHUP}, lambda *_: hurry()):
        yield


@contextlib.contextmanager
def _handled(numbers: set[signal.Signals], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
