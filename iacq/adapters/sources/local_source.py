"""Sources of this machine: directories, and archives, which are unpacked to be looked at and packed again."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from iacq.adapters.sources import archive_formats, archives, source_tree, unpacking
from iacq.adapters.sources.archive_formats import Reading
from iacq.domain.source import SourceKind, SourceLocation
from iacq.errors import InvalidInput
from iacq.ports import PackedSource, SourceFacts
from iacq.settings import Settings


class LocalSource:
    """Implements `ports.Source`."""

    def __init__(self, settings: Settings) -> None:
        self._unpacked_limit = archives.unpacked_limit(settings.max_source)

    def look(self, location: SourceLocation) -> SourceFacts:
        """Read the root module. Raises InvalidInput as `pack` does, and for a state that cannot be read."""
        with self._directory(location) as root, source_tree.shown_as(location, root):
            return source_tree.look(root, location.subdir)

    def pack(self, location: SourceLocation, *, limit: int) -> PackedSource:
        """Return the source as a tar.gz of at most `limit` bytes. Raises InvalidInput that names the option."""
        with self._directory(location) as root, source_tree.shown_as(location, root):
            return source_tree.pack(root, location.subdir, limit=limit)

    @contextlib.contextmanager
    def _directory(self, location: SourceLocation) -> Iterator[Path]:
        if location.kind is SourceKind.PATH:
            yield Path(location.at)
            return
        with tempfile.TemporaryDirectory(prefix="iacq-archive-") as directory:
            root = Path(directory, "tree")
            with source_tree.shown_as(location, root):
                unpacking.unpack_from(_reading(Path(location.at)), root, limit_bytes=self._unpacked_limit)
            yield root


def _reading(file: Path) -> Reading:
    try:
        return archive_formats.of_file(file)
    except OSError as error:
        raise InvalidInput(
            f"{file} cannot be read: {error.strerror or error}", hint="give a tar, tar.gz, tar.bz2, tar.xz or zip file"
        ) from error
