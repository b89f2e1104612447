"""Unpack an archive that nobody vouches for. Everything is checked before anything is written.

tarfile's own extraction is not used: its `data` filter is missing before Python 3.11.4, and there were ways
around it after. zipfile's knows no links.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from iacq.adapters.sources import archive_formats
from iacq.adapters.sources.archive_formats import BLOCK, Entry, Kind, Reading, refused
from iacq.adapters.sources.archive_links import leads_outside
from iacq.errors import Conflict, Unavailable

MAX_ENTRIES = 200_000
"""Most files, directories and links of one archive."""


def unpack(
    data: bytes,
    target: Path,
    *,
    limit_bytes: int,
    limit_entries: int = MAX_ENTRIES,
    links_outside: bool = False,
) -> None:
    """Unpack `data`, a tar.gz, as `unpack_from` does."""
    unpack_from(
        archive_formats.of_bytes(data),
        target,
        limit_bytes=limit_bytes,
        limit_entries=limit_entries,
        links_outside=links_outside,
    )


def unpack_from(
    reading: Reading,
    target: Path,
    *,
    limit_bytes: int,
    limit_entries: int = MAX_ENTRIES,
    links_outside: bool = False,
) -> None:
    """Unpack an archive, which is read twice, into `target`, a new or empty directory.

    Permission bits are kept (the owner may always write directories), times and owners are not. A hard link
    becomes a copy. links_outside: whether symbolic links may lead outside; nothing is written through any.
    Raises InvalidInput, before anything is written: not a whole archive, more than `limit_bytes` unpacked or
    `limit_entries`, a name or link that leaves `target`, an entry below a link, a name twice, a device or
    pipe, an encrypted file. Raises Conflict if `target` is not empty, Unavailable if the disk refuses.
    """
    plan = _check(reading, limit_bytes, limit_entries)
    if not links_outside:
        for name, link in plan.links.items():
            if leads_outside(name, plan.links):
                raise refused(f"{name!r} is a link to {link!r}, which leads outside or in a circle")
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise Conflict(f"{target} is not empty", hint="unpack into a new directory")
        _write(reading, target, plan)
    except OSError as error:
        hint = "free space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
        raise Unavailable(f"cannot unpack into {target}: {error.strerror or error}", hint=hint) from error


@dataclass(kw_only=True)
class _Contents:
    """What the archive holds, by name."""

    directories: dict[str, int] = field(default_factory=dict)  # → permission bits
    files: dict[str, int] = field(default_factory=dict)  # → bytes
    links: dict[str, str] = field(default_factory=dict)  # symbolic → target
    copies: dict[str, str] = field(default_factory=dict)  # hard link → the file

    def __contains__(self, name: str) -> bool:
        return name in self.files or name in self.links or name in self.copies


def _check(reading: Reading, limit_bytes: int, limit_entries: int) -> _Contents:
    contents = _Contents()
    total = 0
    with reading() as entries:
        for count, entry in enumerate(entries, start=1):
            if count > limit_entries:
                raise refused(f"it has more than {limit_entries} entries")
            total += _add(contents, entry)
            if total > limit_bytes:
                raise refused(f"it unpacks to more than {limit_bytes} bytes")
            if entry.kind is Kind.FILE:
                _read_through(entry)
    for name in (*contents.directories, *contents.files, *contents.links, *contents.copies):
        for parent in _parents(name):
            if parent in contents:
                raise refused(f"{name!r} lies below {parent!r}, which is not a directory")
    return contents


def _read_through(entry: Entry) -> None:
    """Read a file to its end: damage is found here, and not when half of the archive is written."""
    with entry.content() as file:
        while file.read(BLOCK):
            pass


def _add(contents: _Contents, entry: Entry) -> int:
    """Note one entry; returns the bytes that it takes."""
    name = _clean(entry.name)
    if not name:
        if entry.kind is not Kind.DIRECTORY:
            raise refused(f"an entry is named {entry.name!r}")
        return 0
    if name in contents or (name in contents.directories and entry.kind is not Kind.DIRECTORY):
        raise refused(f"it holds {name!r} twice")
    match entry.kind:
        case Kind.DIRECTORY:
            contents.directories[name] = entry.mode
        case Kind.LINK:
            if not entry.target or "\0" in entry.target or not _encodable(entry.target):
                raise refused(f"{name!r} is a link to nowhere")
            contents.links[name] = entry.target
        case Kind.COPY:
            original = _clean(entry.target)
            if original not in contents.files:
                raise refused(f"{name!r} is a hard link to {entry.target!r}, which is no earlier file of it")
            contents.copies[name] = original
            return contents.files[original]
        case Kind.FILE:
            contents.files[name] = entry.size
            return entry.size
        case Kind.OTHER:
            raise refused(f"{name!r} is neither a file, a directory nor a link")
    return 0


def _clean(name: str) -> str:
    """Return a name as parts joined by `/`; empty for the root."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise refused(f"{name!r} leads outside")
    long = any(len(os.fsencode(part)) > 255 for part in parts) if _encodable(name) else True
    if long or "\0" in name or len(name) > 3000:
        raise refused(f"{name[:80]!r} cannot be the name of a file")
    return "/".join(parts)


def _encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _parents(name: str) -> Iterator[str]:
    end = name.find("/")
    while end >= 0:
        yield name[:end]
        end = name.find("/", end + 1)


def _write(reading: Reading, target: Path, contents: _Contents) -> None:
    for name in contents.directories:
        (target / name).mkdir(parents=True, exist_ok=True)
    with reading() as entries:
        for entry in entries:
            name = _clean(entry.name)
            if name in contents.files:
                with _create(target / name, entry.mode) as file, entry.content() as content:
                    shutil.copyfileobj(content, file, BLOCK)
            elif name in contents.copies:
                with (
                    _create(target / name, entry.mode) as file,
                    open(target / contents.copies[name], "rb") as original,
                ):
                    shutil.copyfileobj(original, file, BLOCK)
    for name, link in contents.links.items():  # after all files: so none is written through a link
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(link, target / name)
    for name in sorted(contents.directories, reverse=True):
        (target / name).chmod(contents.directories[name] & 0o777 | 0o700)


def _create(path: Path, mode: int) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, mode & 0o777)
    return open(descriptor, "wb")
