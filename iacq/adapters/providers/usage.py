"""Which providers of the mirror are used: those that no run needed for long are removed.

Whoever initializes holds the lock with others; who removes holds it alone, and only if nobody else does: an init finds
a package, hashes it and links to it, and none may vanish meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from iacq import log
from iacq.adapters.providers import packages as provider_packages
from iacq.adapters.providers.mirror import ProviderMirror

logger = log.get(__name__)

_LOCK = "use.lock"


@contextlib.contextmanager
def using(mirror: ProviderMirror) -> Iterator[None]:
    """Keep others from removing a package meanwhile. Raises OSError."""
    with _locked(mirror, fcntl.LOCK_SH):
        yield


def remove_unused(mirror: ProviderMirror, run_directories: Iterable[Path], *, unused_for: float) -> list[str]:
    """Remove packages that no init used for so many seconds and no directory of a run links to; returns which.

    Nothing while somebody initializes: the next time will do. Raises OSError.
    """
    removed: list[str] = []
    with contextlib.suppress(BlockingIOError), _locked(mirror, fcntl.LOCK_EX | fcntl.LOCK_NB):
        oldest = time.time() - unused_for
        old = [found for found in provider_packages.packages(mirror.packages) if mirror.last_used(found.path) < oldest]
        linked = set(_linked(run_directories)) if old else set()
        for package in old:
            if package.path.resolve() not in linked:
                mirror.discard(package.path)
                removed.append(f"{package.address} {package.version}")
                logger.info("provider %s was removed from the mirror: no run used it", removed[-1])
    return removed


def _linked(run_directories: Iterable[Path]) -> Iterator[Path]:
    for directory in run_directories:
        for package in provider_packages.packages(directory / "module" / ".terraform" / "providers"):
            yield package.path.resolve()


@contextlib.contextmanager
def _locked(mirror: ProviderMirror, how: int) -> Iterator[None]:
    descriptor = os.open(mirror.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
