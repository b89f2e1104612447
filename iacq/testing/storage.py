"""Artifacts in memory, and a sealer that hides nothing but is as strict as the real one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from iacq.errors import NotFound, PhaseFailed

_DIGEST = 32


class MemoryArtifacts:
    """Implements `ports.ArtifactStore`."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    def put(self, key: str, sealed: bytes) -> None:
        """Keep it; replaces what was there."""
        self.put_all({key: sealed})

    def put_all(self, sealed: Mapping[str, bytes]) -> None:
        """Keep them; replaces what was there."""
        self.stored.update({key: bytes(data) for key, data in sealed.items()})

    def get(self, key: str) -> bytes:
        """Return what was put. Raises NotFound."""
        if key not in self.stored:
            raise NotFound(f"artifact {key} is not stored")
        return self.stored[key]

    def delete(self, key: str) -> None:
        """Forget it."""
        self.stored.pop(key, None)

    def keys(self, directory: str) -> list[str]:
        """Return every key below."""
        return sorted(key for key in self.stored if key.startswith(f"{directory}/"))


class PlainSealer:
    """Implements `ports.Sealer` without a key. It refuses what was changed, or sealed for something else."""

    def seal(self, plain: bytes, *, bound_to: str) -> bytes:
        """Put a checksum in front."""
        return _digest(plain, bound_to) + plain

    def open(self, sealed: bytes, *, bound_to: str) -> bytes:
        """Return what was sealed. Raises PhaseFailed(code=unreadable)."""
        digest, plain = bytes(sealed[:_DIGEST]), bytes(sealed[_DIGEST:])
        if digest != _digest(plain, bound_to):
            raise PhaseFailed(f"{bound_to}: what is stored is not what was sealed for it", code="unreadable")
        return plain

    def reseal_needed(self, sealed: bytes) -> bool:
        """Return False: there is no key that could change."""
        del sealed
        return False


def _digest(plain: bytes, bound_to: str) -> bytes:
    return hashlib.sha256(bound_to.encode() + b"\0" + plain).digest()
