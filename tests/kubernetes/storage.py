"""Objects with one version counter for all, and what changed since a version: what etcd is to the real one."""

import copy
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.kubernetes import problems

Object: TypeAlias = dict[str, Any]
Objects: TypeAlias = list[Object]
_FIRST_VERSION = 1000


@dataclass(frozen=True, kw_only=True)
class Key:
    resource: str  # plural, as in a path
    namespace: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """One write. `old` None: created; `new` None: removed, and `old` is its last state, with the version of the end."""

    version: int
    key: Key
    old: Object | None
    new: Object | None


Changes: TypeAlias = list[Change]


class Storage:
    """Used by many threads. What it gives is a copy."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.RLock())
        self._objects: dict[Key, Object] = {}
        self._changes: list[Change] = []
        self.oldest = self.version = _FIRST_VERSION
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after each change, in whichever thread made it."""
        self._listeners.append(listener)

    def find(self, key: Key) -> Object | None:
        with self._condition:
            return copy.deepcopy(self._objects.get(key))

    def get(self, key: Key) -> Object:
        found = self.find(key)
        if found is None:
            raise problems.not_found(key.resource, key.name)
        return found

    def create(self, key: Key, made: Object) -> Object:
        with self._condition:
            if key in self._objects:
                raise problems.already_exists(key.resource, key.name)
            return self._write(key, stamp(made))

    def change(self, key: Key, change: Callable[[Object], Object]) -> Object:
        """Replace an object by what `change` makes of it; what stays the same gets no new version."""
        with self._condition:
            old = self.get(key)
            new = change(copy.deepcopy(old))
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            return old if new == old else self._write(key, new)

    def remove(self, key: Key, *, uid: str | None = None) -> Object:
        with self._condition:
            last = self.get(key)
            if uid not in (None, last["metadata"]["uid"]):
                raise problems.not_found(key.resource, key.name)
            self.version += 1
            last["metadata"]["resourceVersion"] = str(self.version)
            del self._objects[key]
            self._note(Change(version=self.version, key=key, old=last, new=None))
            return copy.deepcopy(last)

    def list(self, resource: str, namespace: str | None) -> tuple[Objects, int]:
        """Return all of a namespace (None: of all), in the order of their names, and the version of that."""
        with self._condition:
            keys = sorted(
                (key for key in self._objects if key.resource == resource and namespace in (None, key.namespace)),
                key=lambda key: (key.namespace, key.name),
            )
            return [copy.deepcopy(self._objects[key]) for key in keys], self.version

    def changes_since(self, version: int, *, wait: float = 0, until: Callable[[], bool] = lambda: False) -> Changes:
        """Return what came after a version; wait so many seconds for it, or `until`. Raises ApiError (410)."""
        deadline = time.monotonic() + wait
        with self._condition:
            while True:
                if version < self.oldest:
                    raise problems.expired(version, self.oldest)
                found = list(self._newer(version))
                left = deadline - time.monotonic()
                if found or left <= 0 or until():
                    return found
                self._condition.wait(left)

    def wake(self) -> None:
        """Let those who wait look at their `until`."""
        with self._condition:
            self._condition.notify_all()

    def compact(self) -> None:
        """Forget what changed until now: who asks for it is told 410."""
        with self._condition:
            self.oldest = self.version
            self._changes.clear()
            self._condition.notify_all()

    def _newer(self, version: int) -> Iterator[Change]:
        first = len(self._changes)
        while first and self._changes[first - 1].version > version:
            first -= 1
        yield from copy.deepcopy(self._changes[first:])

    def _write(self, key: Key, new: Object) -> Object:
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        old = self._objects.get(key)
        self._objects[key] = copy.deepcopy(new)
        self._note(Change(version=self.version, key=key, old=old, new=self._objects[key]))
        return copy.deepcopy(new)

    def _note(self, change: Change) -> None:
        self._changes.append(change)
        self._condition.notify_all()
        for listener in self._listeners:
            listener()


def stamp(made: Object) -> Object:
    """Give a new object what the server gives it."""
    made["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
    return made


def now(later: float = 0) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + later))
