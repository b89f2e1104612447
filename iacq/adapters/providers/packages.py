"""Unpacked provider packages on disk: their layout, and terraform's `h1:` hash of them."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Stat = tuple[int, int, int, int, int]
"""(device, inode, size, mtime ns, ctime ns)."""

Files = tuple[tuple[str, Stat], ...]
"""(path in the package, identity) of each file."""

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


def h1(package: Path) -> str:
    """Return terraform's hash of a package (golang.org/x/mod/sumdb/dirhash, Hash1). Raises OSError.

    This process reads a package again only if a file of it was touched.
    """
    return _h1(package.resolve(), files(package))


def files(package: Path) -> Files:
    """Return the names of all files of a package with their identity, in the order of the hash. Raises OSError."""
    root = package.resolve(strict=True)
    names = (
        Path(directory, file).relative_to(root).as_posix() for directory, _, inside in os.walk(root) for file in inside
    )
    return tuple((name, stat(root / name)) for name in sorted(names, key=os.fsencode))


@functools.lru_cache(maxsize=256)
def _h1(root: Path, names: Files) -> str:
    total = hashlib.sha256()
    for name, _ in names:
        with (root / name).open("rb") as file:
            total.update(
                f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n".encode(errors="surrogateescape")
            )
    return f"h1:{base64.b64encode(total.digest()).decode()}"
