"""Moves and links of provider packages that others may see at any moment: each is there as a whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from pathlib import Path


def move(package: Path, target: Path) -> bool:
    """Rename a directory into place at once; False if something is there already."""
    try:
        os.rename(package, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    for directory, _, files in os.walk(target):
        for path in (Path(directory, name) for name in (*files, ".")):
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
    _sync_file(target.parent)
    return True


def link(at: Path, target: Path) -> None:
    """Make `at` a link to `target`, whatever it was."""
    if at.is_dir() and not at.is_symlink():
        shutil.rmtree(at)
    temporary = at.with_name(f".{secrets.token_hex(8)}")
    temporary.symlink_to(target)
    os.replace(temporary, at)


def remove(directory: Path) -> None:
    """Remove a directory although parts of it are read-only."""
    for parent, _, _ in os.walk(directory):
        Path(parent).chmod(0o755)
    shutil.rmtree(directory)


def sync(directory: Path) -> None:
    """Write a directory through to the disk: a power cut must not leave a broken provider for everyone."""
    for parent, _, files in os.walk(directory):
        for name in (*files, "."):
            _sync_file(Path(parent, name))


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
