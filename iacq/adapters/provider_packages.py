"""Unpacked provider packages on disk: their layout, and terraform's `h1:` hash of them."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Stat = tuple[int, int, int, int, int]
"""(device, inode, size, mtime ns, ctime ns)."""

_Files = tuple[tuple[str, Stat], ...]

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
PLATFORM = f"linux_{_MACHINES.get(platform.machine(), platform.machine())}"
"""Name of this machine's directory in a package's version."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """`ROOT/HOST/NAMESPACE/TYPE/VERSION/PLATFORM`, a directory or a link to one."""

    address: str  # HOST/NAMESPACE/TYPE
    version: str
    path: Path


def packages(root: Path) -> Iterator[Package]:
    """Yield this platform's packages below `root`, in order."""
    for path in sorted(root.glob(f"*/*/*/*/{PLATFORM}")):
        *_, host, namespace, kind, version, _platform = path.parts
        yield Package(address=f"{host}/{namespace}/{kind}", version=version, path=path)


def addresses(root: Path) -> tuple[str, ...]:
    """Return HOST/NAMESPACE/TYPE of what a packed or unpacked mirror holds; nothing if it is not there."""
    kinds = (path for path in sorted(root.glob("*/*/*")) if path.is_dir() and any(path.iterdir()))
    return tuple("/".join(path.parts[-3:]) for path in kinds)


def stat(path: Path) -> Stat:
    """Return what changes whenever the file changes, following links. Raises OSError."""
    found = path.stat()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def binary(package: Path) -> Path | None:
    """Return the provider's program in a package."""
    return next(iter(sorted(package.glob("terraform-provider-*"))), None)


def h1(package: Path, cache: Path | None = None) -> str:
    """Return terraform's hash of a package (golang.org/x/mod/sumdb/dirhash, Hash1).

    cache: file that keeps the hash for as long as no file of the package changes; None: this process only.
    Raises OSError.
    """
    root = package.resolve()
    files = _files(root)
    if cache is None:
        return _h1(root, files)
    known = {"files": [[name, *identity] for name, identity in files]}
    try:
        stored = json.loads(cache.read_text())
        if stored["files"] == known["files"]:
            return str(stored["h1"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or cut off by a crash: it is made again
    found = _h1(root, files)
    _write(cache, json.dumps({**known, "h1": found}))
    return found


def _files(root: Path) -> _Files:
    names = (
        (Path(directory, file).relative_to(root).as_posix()) for directory, _, files in os.walk(root) for file in files
    )
    return tuple((name, stat(root / name)) for name in sorted(names, key=os.fsencode))


@functools.lru_cache(maxsize=256)
def _h1(root: Path, files: _Files) -> str:
    total = hashlib.sha256()
    for name, _ in files:
        with (root / name).open("rb") as file:
            total.update(
                f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n".encode(errors="surrogateescape")
            )
    return f"h1:{base64.b64encode(total.digest()).decode()}"


def _write(path: Path, text: str) -> None:
    """Replace a file at once: others may read it meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.replace(temporary, path)
