"""tar.gz of directories: the same bytes for the same tree, and nothing that escapes when it is unpacked.

`pack` and `unpack` serve configurations; `pack_snapshot` and `unpack_snapshot` a run's directory as its plan
left it.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, TYPE_CHECKING

from iacq.adapters.sources import unpacking
from iacq.adapters.sources.archive_links import leads_outside
from iacq.adapters.sources.unpacking import MAX_ENTRIES, unpack
from iacq.errors import InvalidInput, PhaseFailed

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "MAX_ENTRIES",
    "SNAPSHOT_LIMIT",
    "pack",
    "pack_snapshot",
    "unpack",
    "unpack_snapshot",
    "unpacked_limit",
]

Exclude = Callable[[PurePosixPath, bool], bool]
"""Tells whether to leave out a path (relative to the root; is it a directory?), and with it what is below."""

SNAPSHOT_LIMIT = 256 * 2**20
"""Largest packed snapshot, in bytes. It is sealed in memory."""

_ROOT = PurePosixPath()
_UNPACKED_FLOOR = 2**30
_EXPANSION = 16
_COMPRESSION = 1  # a second of a person's wait is worth more than a third of these bytes


def unpacked_limit(limit: int) -> int:
    """Return how many bytes may come out of `limit` packed ones. What `pack` accepts, `unpack` does too."""
    return max(_UNPACKED_FLOOR, _EXPANSION * limit)


def pack(root: Path, *, exclude: Exclude, limit: int) -> bytes:
    """Return the tree below `root` as a tar.gz of at most `limit` bytes; the same bytes for the same tree.

    Kept: names, contents, permission bits, symbolic links that stay inside. Not kept: owners, times. Sockets,
    pipes and devices are left out. Raises InvalidInput: too large or too many (with the largest entries), an
    unreadable file, a link that leads outside, a file that changes meanwhile.
    """
    found = _walk(root, exclude)
    links = {entry.name: entry.link for entry in found if entry.link is not None}
    for name in sorted(links):
        if leads_outside(name, links):
            raise InvalidInput(
                f"{name!r} in {root} is a link to {links[name]!r}, which leads outside or in a circle",
                hint="put the files there, link inside the directory, or list it in .terraformignore",
            )
    return _pack(root, found, limit)


def pack_snapshot(tree: Path, *, module: PurePath = _ROOT, limit: int = SNAPSHOT_LIMIT) -> bytes:
    """Return a run's directory as the plan left it: source, modules, generated files, lock file, plan, state.

    module: of the root module in it. Left out: `.git` and its `.terraform/providers` (kept once per machine).
    `.terraformignore` was obeyed when the source was packed: what it matches in here was made by init or plan, and
    the apply may need it. Links are kept as they are. Raises PhaseFailed(code=snapshot).
    """
    try:
        providers = PurePosixPath(module, ".terraform", "providers")
        return _pack(tree, _walk(tree, lambda path, _: path.name == ".git" or path == providers), limit)
    except InvalidInput as error:
        hint = "generate fewer or smaller files while planning, or leave source files out by .terraformignore"
        raise PhaseFailed(
            f"the planned directory cannot be kept: {error.message}", code="snapshot", hint=hint
        ) from error


def unpack_snapshot(data: bytes, target: Path, *, limit: int = SNAPSHOT_LIMIT) -> None:
    """Restore what `pack_snapshot` returned into `target`, a new or empty directory.

    A link may lead outside here, as it did when terraform made it, but nothing is written through one.
    Raises PhaseFailed(code=unreadable).
    """
    try:
        unpacking.unpack(data, target, limit_bytes=unpacked_limit(limit), limit_entries=MAX_ENTRIES, links_outside=True)
    except InvalidInput as error:
        raise PhaseFailed(f"the kept snapshot cannot be used: {error.message}", code="unreadable") from error


@dataclass(frozen=True, kw_only=True)
class _Entry:
    name: str  # relative, with `/`
    mode: int  # st_mode
    size: int  # bytes; 0 unless a file
    link: str | None = None  # target of a symbolic link


def _walk(root: Path, exclude: Exclude) -> list[_Entry]:
    """List what is to be packed: directories before what they hold, in the order of their names."""
    found: list[_Entry] = []
    open_directories = [("", _children(root, ""))]
    while open_directories:
        prefix, children = open_directories[-1]
        item = next(children, None)
        if item is None:
            open_directories.pop()
            continue
        name = prefix + item.name
        is_directory = item.is_dir(follow_symlinks=False)
        if exclude(PurePosixPath(name), is_directory) or (entry := _entry(root, name)) is None:
            continue
        found.append(entry)
        if len(found) > MAX_ENTRIES:
            raise _too_large(root, found, f"has more than {MAX_ENTRIES} entries")
        if is_directory:
            open_directories.append((f"{name}/", _children(root, name)))
    return found


def _children(root: Path, name: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(root / name) as items:
            return iter(sorted(items, key=lambda item: os.fsencode(item.name)))
    except OSError as error:
        raise _unreadable(root, name or ".", error) from error


def _entry(root: Path, name: str) -> _Entry | None:
    try:
        status = os.lstat(root / name)
        if stat.S_ISLNK(status.st_mode):
            return _Entry(name=name, mode=status.st_mode, size=0, link=os.readlink(root / name))
    except FileNotFoundError:
        return None  # removed since it was listed: an editor's temporary file
    except OSError as error:
        raise _unreadable(root, name, error) from error
    if stat.S_ISREG(status.st_mode):
        return _Entry(name=name, mode=status.st_mode, size=status.st_size)
    return _Entry(name=name, mode=status.st_mode, size=0) if stat.S_ISDIR(status.st_mode) else None


def _pack(root: Path, entries: Sequence[_Entry], limit: int) -> bytes:
    if sum(entry.size for entry in entries) > unpacked_limit(limit):
        raise _too_large(root, entries, f"holds more than {_human(unpacked_limit(limit))}")
    sink = _Bounded(limit)
    try:
        with (
            gzip.GzipFile(filename="", fileobj=sink, mode="wb", compresslevel=_COMPRESSION, mtime=0) as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar,
        ):
            for entry in entries:
                _add(tar, root, entry)
    except _OverLimit:
        raise _too_large(root, entries, f"packs to more than {_human(limit)}") from None
    return sink.getvalue()


def _add(tar: tarfile.TarFile, root: Path, entry: _Entry) -> None:
    member = tarfile.TarInfo(entry.name)  # owner and time stay 0
    member.mode = stat.S_IMODE(entry.mode) & 0o777
    if entry.link is not None:
        member.type, member.linkname = tarfile.SYMTYPE, entry.link
        tar.addfile(member)
    elif stat.S_ISDIR(entry.mode):
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    else:
        member.size = entry.size
        with _open(root, entry) as file:
            try:
                tar.addfile(member, file)
            except OSError as error:
                raise (
                    _changed(root, entry) if error.errno is None else _unreadable(root, entry.name, error)
                ) from error


def _open(root: Path, entry: _Entry) -> IO[bytes]:
    # O_NONBLOCK: if a pipe took the file's place meanwhile, opening it must not hang.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(root / entry.name, flags)
    except FileNotFoundError as error:
        raise _changed(root, entry) from error
    except OSError as error:
        raise _unreadable(root, entry.name, error) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
        os.close(descriptor)
        raise _changed(root, entry)
    return open(descriptor, "rb")


class _OverLimit(Exception):  # noqa: N818 - it says what happened
    """More was written than allowed."""


class _Bounded(io.BytesIO):
    """Takes at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: ReadableBuffer) -> int:
        if self.tell() + memoryview(data).nbytes > self._limit:
            raise _OverLimit
        return super().write(data)


def _too_large(root: Path, entries: Iterable[_Entry], what: str) -> InvalidInput:
    sizes: dict[str, int] = {}
    for entry in entries:
        first, slash, _ = entry.name.partition("/")
        sizes[first + slash] = sizes.get(first + slash, 0) + entry.size
    return InvalidInput(
        f"{root} {what}; the largest in it: {_largest(sizes)}",
        hint="list what terraform does not need in .terraformignore (it is written like .gitignore)",
        code="too_large",
    )


def _largest(sizes: Mapping[str, int]) -> str:
    by_size = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name!r} ({_human(size)})" for name, size in by_size[:3])


def _human(size: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size} bytes"


def _unreadable(root: Path, name: str, error: OSError) -> InvalidInput:
    return InvalidInput(
        f"{name!r} in {root} cannot be read: {error.strerror or error}",
        hint="make it readable, or list it in .terraformignore",
    )


def _changed(root: Path, entry: _Entry) -> InvalidInput:
    return InvalidInput(f"{entry.name!r} in {root} changed while it was packed", hint="try again when it is at rest")
