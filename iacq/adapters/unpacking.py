"""Unpack a tar.gz that nobody vouches for. Everything is checked before anything is written.

tarfile's own extraction is not used: its `data` filter is missing before Python 3.11.4, and there were ways
around it after.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from iacq.adapters.archive_links import leads_outside
from iacq.errors import Conflict, InvalidInput, Unavailable

MAX_ENTRIES = 200_000
"""Most files, directories and links of one archive."""

_HEADERS = 2**20  # bytes of headers that may come before one entry; a long name needs a few KiB
_BLOCK = 256 * 1024
_BROKEN = (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, OverflowError, RecursionError)


def unpack(
    data: bytes,
    target: Path,
    *,
    limit_bytes: int,
    limit_entries: int = MAX_ENTRIES,
    links_outside: bool = False,
) -> None:
    """Unpack `data`, a tar.gz, into `target`, a new or empty directory.

    Permission bits are kept (the owner may always write directories), times and owners are not. A hard link
    becomes a copy. links_outside: whether symbolic links may lead outside; nothing is written through any.
    Raises InvalidInput, before anything is written: not a whole tar.gz, more than `limit_bytes` unpacked or
    `limit_entries`, a name or link that leaves `target`, an entry below a link, a name twice, a device or
    pipe. Raises Conflict if `target` is not empty, Unavailable if the disk refuses.
    """
    plan = _check(data, limit_bytes, limit_entries)
    if not links_outside:
        for name, link in plan.links.items():
            if leads_outside(name, plan.links):
                raise _refused(f"{name!r} is a link to {link!r}, which leads outside or in a circle")
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise Conflict(f"{target} is not empty", hint="unpack into a new directory")
        _write(data, target, plan)
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


def _check(data: bytes, limit_bytes: int, limit_entries: int) -> _Contents:
    contents = _Contents()
    total = 0
    with _reading(data) as (tar, source):
        for count, member in enumerate(tar, start=1):
            if count > limit_entries:
                raise _refused(f"it has more than {limit_entries} entries")
            total += _add(contents, member)
            if total > limit_bytes:
                raise _refused(f"it unpacks to more than {limit_bytes} bytes")
            source.allow(member.size)
        _check_end(tar)
    for name in (*contents.directories, *contents.files, *contents.links, *contents.copies):
        for parent in _parents(name):
            if parent in contents:
                raise _refused(f"{name!r} lies below {parent!r}, which is not a directory")
    return contents


def _add(contents: _Contents, member: tarfile.TarInfo) -> int:
    """Note one member; returns the bytes that it takes."""
    name = _clean(member.name)
    if not name:
        if not member.isdir():
            raise _refused(f"an entry is named {member.name!r}")
        return 0
    if name in contents or (name in contents.directories and not member.isdir()):
        raise _refused(f"it holds {name!r} twice")
    if member.isdir():
        contents.directories[name] = member.mode
    elif member.issym():
        if not member.linkname or "\0" in member.linkname or not _encodable(member.linkname):
            raise _refused(f"{name!r} is a link to nowhere")
        contents.links[name] = member.linkname
    elif member.islnk():
        original = _clean(member.linkname)
        if original not in contents.files:
            raise _refused(f"{name!r} is a hard link to {member.linkname!r}, which is no earlier file of it")
        contents.copies[name] = original
        return contents.files[original]
    elif member.isreg() and not member.issparse() and member.size >= 0:
        contents.files[name] = member.size
        return member.size
    else:
        raise _refused(f"{name!r} is neither a file, a directory nor a link")
    return 0


def _clean(name: str) -> str:
    """Return a name as parts joined by `/`; empty for the root."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise _refused(f"{name!r} leads outside")
    long = any(len(os.fsencode(part)) > 255 for part in parts) if _encodable(name) else True
    if long or "\0" in name or len(name) > 3000:
        raise _refused(f"{name[:80]!r} cannot be the name of a file")
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


def _check_end(tar: tarfile.TarFile) -> None:
    # tarfile takes a broken header for the end. Reading on finds that out, and checks gzip's sum.
    stream: IO[bytes] = tar.fileobj  # type: ignore[assignment]  # set as long as it is open
    while block := stream.read(_BLOCK):
        if block.strip(b"\0"):
            raise _refused("it is damaged: something follows its end")


def _write(data: bytes, target: Path, contents: _Contents) -> None:
    for name in contents.directories:
        (target / name).mkdir(parents=True, exist_ok=True)
    with _reading(data) as (tar, source):
        for member in tar:
            source.allow(member.size)
            name = _clean(member.name)
            if name in contents.files:
                with _create(target / name, member.mode) as file:
                    shutil.copyfileobj(tar.extractfile(member), file, _BLOCK)  # type: ignore[arg-type]  # a file has one
            elif name in contents.copies:
                with (
                    _create(target / name, member.mode) as file,
                    open(target / contents.copies[name], "rb") as original,
                ):
                    shutil.copyfileobj(original, file, _BLOCK)
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


class _Source(io.RawIOBase):
    """The unpacked bytes; refuses to go much further than the entries seen so far account for."""

    def __init__(self, data: bytes) -> None:
        self._stream = gzip.GzipFile(fileobj=io.BytesIO(data))
        self._left = 0
        self.allow(0)

    def allow(self, size: int) -> None:
        """Let the content of one entry through, and the headers of the next."""
        self._left = size + _HEADERS + _BLOCK

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise _refused("its headers are too large")
        return block


@contextmanager
def _reading(data: bytes) -> Iterator[tuple[tarfile.TarFile, _Source]]:
    source = _Source(data)
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=_BLOCK) as tar:
            yield tar, source
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk that is written to
        raise _refused(f"it is not a whole tar.gz ({error or type(error).__name__})") from error


def _refused(why: str) -> InvalidInput:
    return InvalidInput(f"the archive is refused: {why}", code="bad_archive")
