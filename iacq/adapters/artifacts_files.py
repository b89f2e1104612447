"""Artifacts as files, for one machine: `runs/42/plan` becomes ROOT/runs/42/plan."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from iacq.adapters import private_directory
from iacq.errors import InvalidInput, NotFound, Unavailable
from iacq.keeper.files import sync_directory

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,199}){0,15}")
_DRAFTS = ".drafts"  # no key starts with a dot
_DRAFT_AGE = 3600.0  # seconds after which a draft's writer is taken for dead
_ATTEMPTS = 20  # a directory that `put` just made may be removed by a `delete` beside it


class FileArtifacts:
    """Keeps each artifact in a file that only this user may read. Several processes may use one root."""

    def __init__(self, root: Path) -> None:
        """root: a directory of its own; made at the first use."""
        self._root = root
        self._ready = False

    def put(self, key: str, sealed: bytes) -> None:
        """Store durably. A reader gets the old bytes or the new ones, whole. Raises Unavailable."""
        self.put_all({key: sealed})

    def put_all(self, sealed: Mapping[str, bytes]) -> None:
        """Store several as `put` does; a directory is synced once for all that is put into it."""
        targets = {key: self._path(key) for key in sealed}
        for key, target in targets.items():
            try:
                draft = self._write_draft(sealed[key])
                try:
                    self._move(draft, target)
                except OSError:
                    draft.unlink(missing_ok=True)
                    raise
            except OSError as error:
                raise self._unavailable("stored", key, error) from error
        for directory in {target.parent for target in targets.values()}:
            self._sync(directory)

    def get(self, key: str) -> bytes:
        """Return what was put. Raises NotFound, Unavailable."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"the artifact {key} is not stored", code="no_artifact") from None
        except OSError as error:
            raise self._unavailable("read", key, error) from error

    def delete(self, key: str) -> None:
        """Forget it, and directories that are empty then. No error if it is not there. Raises Unavailable."""
        target = self._path(key)
        try:
            target.unlink()
            sync_directory(target.parent)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return
        except OSError as error:
            raise self._unavailable("deleted", key, error) from error
        for directory in target.parents:
            if directory == self._root or not _remove_if_empty(directory):
                return

    def keys(self, directory: str) -> list[str]:
        """Return every key below. Raises Unavailable."""
        try:
            found = [
                Path(above, name).relative_to(self._root).as_posix()
                for above, _, names in os.walk(self._path(directory))
                for name in names
            ]
        except OSError as error:
            raise self._unavailable("listed", directory, error) from error
        return sorted(found)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise InvalidInput(
                f"{key[:80]!r} is not a valid artifact key",
                hint="join names by '/': letters, digits, '_', '-' and '.', the last two not first",
            )
        return self._root / key

    def _write_draft(self, sealed: bytes) -> Path:
        drafts = self._root / _DRAFTS
        if not self._ready:
            private_directory.ensure(self._root)
            private_directory.ensure(drafts)
            _sweep(drafts)
            self._ready = True
        draft = drafts / secrets.token_hex(12)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb", buffering=0) as file:
                left = memoryview(sealed)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        return draft

    def _move(self, draft: Path, target: Path) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                _make_directories(target.parent)
                draft.replace(target)
                break
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise

    def _sync(self, directory: Path) -> None:
        try:
            sync_directory(directory)
        except FileNotFoundError:
            pass  # all in it was deleted again already
        except OSError as error:
            raise self._unavailable("stored", str(directory.relative_to(self._root)), error) from error

    def _unavailable(self, done: str, key: str, error: OSError) -> Unavailable:
        return Unavailable(
            f"the artifact {key} cannot be {done} under {self._root}: {error.strerror or error}",
            hint="check free space and permissions there",
        )


def _make_directories(directory: Path) -> None:
    """Make a directory and those above it; each is durable before something is put into it."""
    if directory.is_dir():
        return
    _make_directories(directory.parent)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        return
    sync_directory(directory.parent)


def _remove_if_empty(directory: Path) -> bool:
    try:
        directory.rmdir()
    except OSError:
        return False
    return True


def _sweep(drafts: Path) -> None:
    """Remove what writers left that were killed."""
    oldest = time.time() - _DRAFT_AGE
    for draft in drafts.iterdir():
        try:
            if draft.stat().st_mtime < oldest:
                draft.unlink()
        except FileNotFoundError:
            continue  # another process was faster
