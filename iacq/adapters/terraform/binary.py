"""The terraform (or OpenTofu) program of this machine: where it is, its version, its identity."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from iacq.domain import terraform_version
from iacq.errors import Unavailable
from iacq.settings import Settings

Stat = tuple[int, int, int, int, int]
"""(device, inode, size, mtime ns, ctime ns): whatever changes a file changes one of these."""

PROGRAMS = ("terraform", "tofu")
"""Names, in the order in which they are looked for."""
_VERSION_SECONDS = 30.0
_HINT = "install terraform or tofu, or set IACQ_TERRAFORM to its path"


def find(settings: Settings, *, search_path: str | None = None) -> Path:
    """Return the absolute path of the program: the setting's, else from PATH, else beside the running Python.

    search_path: instead of PATH. Raises Unavailable with the fix.
    """
    if settings.terraform is not None:
        found = shutil.which(os.path.expanduser(settings.terraform), path=search_path)
        if found is None:
            raise Unavailable(
                f"IACQ_TERRAFORM: there is no program {settings.terraform}",
                field="IACQ_TERRAFORM",
                hint=_HINT,
            )
        return Path(found).absolute()
    if found_there := on_path(search_path):
        return found_there
    raise Unavailable("there is neither terraform nor tofu on PATH", hint=_HINT)


def on_path(search_path: str | None = None) -> Path | None:
    """Return the program on PATH, else beside the running Python; None if there is none. search_path: as of `find`."""
    for directories in (search_path, str(Path(sys.executable).parent)):
        for name in PROGRAMS:
            if found := shutil.which(name, path=directories):
                return Path(found).absolute()
    return None


def version(path: Path) -> str:
    """Return the version that the program says, such as `1.11.4`. Raises Unavailable, also for one that is too old."""
    return _version(path, stat(path))


def fingerprint(path: Path) -> dict[str, Any]:
    """Return what identifies the program: path, version, sha256 (hex), stat. Raises Unavailable."""
    identity = stat(path)
    return {
        "path": str(path),
        "version": _version(path, identity),
        "sha256": _sha256(path, identity),
        "stat": list(identity),
    }


def stat(path: Path) -> Stat:
    """Return the identity of a file, following links. Raises Unavailable if there is none."""
    try:
        found = path.stat()
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}", hint=_HINT) from error
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@functools.lru_cache(maxsize=64)
def _version(path: Path, _identity: Stat) -> str:
    # A CLI configuration of the user must not add warnings, and nothing may ask the network for updates.
    # PATH is for wrapper scripts.
    environment = {"CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull}
    environment["PATH"] = os.environ.get("PATH", os.defpath)
    try:
        done = subprocess.run(
            [path, "version", "-json"],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{path} does not run: {error}", hint=_HINT) from error
    said = _parse_version(done.stdout.decode(errors="replace"))
    if said is None:
        raise Unavailable(f"{path} does not say its version (exit code {done.returncode})", hint=_HINT)
    if not terraform_version.is_supported(said):
        raise Unavailable(
            f"{path} is too old: it says that it is {said}",
            hint=f"iacq needs {terraform_version.MINIMUM} or newer",
            code="terraform_too_old",
        )
    return said


def _parse_version(output: str) -> str | None:
    try:
        said = json.loads(output)["terraform_version"]
    except (ValueError, KeyError, TypeError):
        found = re.search(r"^(?:Terraform|OpenTofu) v(\S+)", output, re.MULTILINE)
        return found[1] if found else None
    return str(said)


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, _identity: Stat) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
