"""One pass over an archive, whatever its format: what it holds, in its order.

Nothing here judges names, sizes or links: `unpacking` does. What is bounded here is what a reader would do by
itself before anybody could judge: unpacked headers of a tar, the directory of a zip, the dictionary of an xz.
"""

from __future__ import annotations

import bz2
import enum
import functools
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from iacq.errors import InvalidInput

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 256 * 1024

_HEADERS = 2**20  # bytes of headers that may come before one entry; a long name needs a few KiB
_XZ_MEMORY = 128 * 2**20  # bytes; `xz -9` needs 65 MiB
_ZIP_DIRECTORY = 32 * 2**20  # bytes of a zip's directory, all of which zipfile reads
_ZIP_END = b"PK\5\6"
_ZIP64_LOCATOR = b"PK\6\7"
_LONGEST_LINK = 4096
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # traditional, strong, masked directory
_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError, OverflowError,
    RecursionError, NotImplementedError,
)  # fmt: skip


class _Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


class Kind(enum.Enum):
    """What an entry is."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "symbolic link"
    COPY = "hard link"
    OTHER = "something else"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry, as the archive has it."""

    name: str
    kind: Kind
    mode: int  # permission bits
    size: int  # bytes; 0 unless a file
    target: str = ""  # of a link
    content: Callable[[], IO[bytes]]  # of a file; to be read before the next entry is taken


Reading = Callable[[], AbstractContextManager[Iterator[Entry]]]
"""Begins a pass. Inside, what is not an archive raises InvalidInput, and a disk's errors stay OSError."""


def refused(why: str) -> InvalidInput:
    """Say why an archive is not unpacked."""
    hint = "make it again, without what is named here"
    return InvalidInput(f"the archive is refused: {why}", hint=hint, code="bad_archive")


def of_bytes(data: bytes) -> Reading:
    """Read a tar.gz in memory."""
    return lambda: _tar(gzip.GzipFile(fileobj=io.BytesIO(data)), "tar.gz")


def of_tar(path: Path) -> Reading:
    """Read a plain tar."""
    return lambda: _tar(path.open("rb"), "tar")


def of_file(path: Path) -> Reading:
    """Read a tar, tar.gz, tar.bz2, tar.xz or zip; its first bytes tell which. Raises OSError."""
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"PK"):
        return lambda: _zip(path)
    if magic.startswith(b"\x1f\x8b"):
        return lambda: _tar(gzip.open(path), "tar.gz")
    if magic.startswith(b"BZh"):
        return lambda: _tar(bz2.open(path), "tar.bz2")
    if magic == b"\xfd7zXZ\0":
        return lambda: _tar(io.BufferedReader(_Xz(path.open("rb"))), "tar.xz")
    return lambda: _tar(path.open("rb"), "tar, tar.gz, tar.bz2, tar.xz or zip")


@contextmanager
def _tar(stream: _Stream, kind: str) -> Iterator[Iterator[Entry]]:
    with closing(stream), _translated(kind):
        source = _Source(stream)
        with tarfile.open(fileobj=source, mode="r|", bufsize=BLOCK) as tar:
            yield _members(tar, source)


@contextmanager
def _translated(kind: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of a disk
        raise refused(f"it is not a whole {kind} ({error or type(error).__name__})") from error


def _members(tar: tarfile.TarFile, source: _Source) -> Iterator[Entry]:
    for member in tar:
        source.allow(member.size)
        kind = _kind_of(member)
        yield Entry(
            name=member.name,
            kind=kind,
            mode=member.mode,
            size=member.size if kind is Kind.FILE else 0,
            target=member.linkname,
            content=functools.partial(_extracted, tar, member),
        )
    # tarfile takes a broken header for the end. Reading on finds that out, and checks gzip's sum.
    stream: IO[bytes] = tar.fileobj  # type: ignore[assignment]  # set as long as it is open
    while block := stream.read(BLOCK):
        if block.strip(b"\0"):
            raise refused("it is damaged: something follows its end")


def _extracted(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name!r} has no content")
    return file


def _kind_of(member: tarfile.TarInfo) -> Kind:
    if member.isdir():
        return Kind.DIRECTORY
    if member.issym():
        return Kind.LINK
    if member.islnk():
        return Kind.COPY
    return Kind.FILE if member.isreg() and not member.issparse() and member.size >= 0 else Kind.OTHER


class _Source(io.RawIOBase):
    """The unpacked bytes; refuses to go much further than the entries seen so far account for."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._left = 0
        self.allow(0)

    def allow(self, size: int) -> None:
        """Let the content of one entry through, and the headers of the next."""
        self._left = size + _HEADERS + BLOCK

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise refused("its headers are too large")
        return block


class _Xz(io.RawIOBase):
    """Unpacks xz within a bounded memory, which lzma.open does not offer."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decompressor = self._fresh()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while True:
            data = b""
            if self._decompressor.needs_input:
                data = self._file.read(BLOCK)
            if self._decompressor.eof:
                rest = self._decompressor.unused_data + self._file.read(BLOCK)
                if not rest.strip(b"\0"):  # padding
                    return 0
                self._decompressor, data = self._fresh(), rest
            elif self._decompressor.needs_input and not data:
                raise EOFError("it ends too early")
            if block := self._decompressor.decompress(data, len(view)):
                view[: len(block)] = block
                return len(block)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _fresh(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


@contextmanager
def _zip(path: Path) -> Iterator[Iterator[Entry]]:
    with _translated("zip"):
        _check_zip_directory(path)
        with zipfile.ZipFile(path) as archive:
            yield (_zip_entry(archive, info) for info in archive.infolist())


def _check_zip_directory(path: Path) -> None:
    """Refuse a zip whose directory would fill the memory: zipfile makes an object of each entry."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - 22 - 65535 - 20))  # the end, its comment, the locator before it
        tail = file.read()
    end = tail.rfind(_ZIP_END)
    if end < 0 or len(tail) < end + 22:
        raise zipfile.BadZipFile("its end is missing")
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    if directory > _ZIP_DIRECTORY or tail[max(0, end - 20) : end].startswith(_ZIP64_LOCATOR):
        raise refused("it has too many entries for a zip without extensions; use a tar.gz")


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    if info.flag_bits & _ENCRYPTED:
        raise refused(f"{info.filename!r} is encrypted; pack it without a password")
    mode = info.external_attr >> 16  # of Unix; 0 elsewhere
    kind = {0: Kind.FILE, stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.LINK}.get(
        stat.S_IFMT(mode), Kind.OTHER
    )
    if info.is_dir() and kind is Kind.FILE:
        kind = Kind.DIRECTORY
    target = ""
    if kind is Kind.LINK:
        with archive.open(info) as file:
            target = file.read(_LONGEST_LINK + 1).decode("utf-8", "surrogateescape")
    return Entry(
        name=info.filename,
        kind=kind,
        mode=stat.S_IMODE(mode) or 0o644,
        size=info.file_size if kind is Kind.FILE else 0,
        target=target,
        content=lambda: archive.open(info),
    )
