"""Directories that only this user may enter: sockets without a password, keys, logs and state lie in them."""

from __future__ import annotations

import os
from pathlib import Path

from iacq.errors import Unavailable


def ensure(path: Path) -> Path:
    """Make `path` a directory of mode 0700 that belongs to us, and return it.

    A symbolic link at `path` itself is not followed: in a shared directory such as /tmp somebody else could
    have put it there. Raises Unavailable that says what is in the way.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(
            f"cannot use {path} as a private directory: {error.strerror}",
            field="IACQ_HOME",
            hint="remove what is in the way, or set IACQ_HOME to a directory that you own",
        ) from error
    try:
        owner = os.fstat(opened).st_uid
        if owner != os.geteuid():
            raise Unavailable(
                f"{path} belongs to user {owner}, not to user {os.geteuid()} who runs this",
                field="IACQ_HOME",
                hint="run as its owner, or set IACQ_HOME to a directory that you own",
            )
        os.fchmod(opened, 0o700)
    finally:
        os.close(opened)
    return path
