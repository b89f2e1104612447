"""What goes wrong with an answer: said in a test, before the request comes."""

import threading
from dataclasses import dataclass, field

from tests.kubernetes.problems import ApiError


@dataclass(kw_only=True)
class Fault:
    """Happens to the next `times` requests that fit; None: to all, until it is removed."""

    verb: str | None = None  # get, list, watch, create, update, patch, delete; None: any
    resource: str | None = "pods"  # None: any
    name: str | None = None  # of the object; None: any
    times: int | None = 1
    code: int | None = None  # this instead of an answer
    message: str = "injected by the test"
    reason: str = ""
    retry_after: int | None = None
    delay: float = 0  # seconds before it is done
    loses_answer: bool = False  # it is done, and the connection breaks
    breaks: bool = False  # it is not done, and the connection breaks
    happened: int = field(default=0, init=False)

    def error(self) -> ApiError | None:
        if self.code is None:
            return None
        return ApiError(self.code, self.message, reason=self.reason, retry_after=self.retry_after)


class Faults:
    """Used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []
        self.cleared = threading.Event()  # ends delays

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self.cleared.clear()
            self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()
            self.cleared.set()

    def take(self, verb: str, resource: str, name: str) -> Fault | None:
        """Return the first fault that fits, and count it."""
        with self._lock:
            for fault in self._waiting:
                if fault.verb in (None, verb) and fault.resource in (None, resource) and fault.name in (None, name):
                    fault.happened += 1
                    if fault.times is not None and fault.happened >= fault.times:
                        self._waiting.remove(fault)
                    return fault
        return None
