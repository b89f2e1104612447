"""Short names for directories in which programs open unix sockets: such a path ends at about 108 bytes.

A provider opens one in TMPDIR, and otherwise ends with "Failed to read any lines from plugin's stdout".
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from iacq.adapters import private_directory

_LONGEST = 80
"""Bytes of a directory that leave room for the name of a socket."""


def name(directory: Path) -> Path:
    """Return the directory, which exists, or a link to it that is short enough. Raises OSError, Unavailable."""
    if len(os.fsencode(directory)) <= _LONGEST:
        return directory
    link = _link(directory)
    private_directory.ensure(link.parent)
    with contextlib.suppress(FileExistsError):  # its name says where it leads, and nobody else can write there
        link.symlink_to(directory)
        _sweep(link.parent)
    return link


def forget(directory: Path) -> None:
    """Remove the link to a directory, if it has one."""
    _link(directory).unlink(missing_ok=True)


def _sweep(links: Path) -> None:
    """Remove links to what was removed otherwise than by us, such as a whole HOME."""
    for link in links.iterdir():
        if not link.exists():
            link.unlink(missing_ok=True)


def _link(directory: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    # Not TMPDIR, which may be long itself.
    return Path("/tmp") / f"iacq-{os.getuid()}" / digest  # noqa: S108 - a private directory
