"""Run the checkout as a user without privileges: root is kept out of nothing, so that it could prove nothing."""

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from iacq.adapters.programs import child_process

ROOT = Path(__file__).parents[1]
_NEEDED = "import ctypes, sqlite3, ssl, sys; assert sys.version_info[:2] == {version}"


class Unprivileged:
    """A directory of a user without privileges, with iacq and its dependencies in it; a context manager.

    That user is nobody if the tests run as root; else whoever runs them.
    """

    def __init__(self, packages: Path = ROOT) -> None:
        """packages: the checkout, or where a wheel was installed."""
        self._packages = packages
        self.user = "nobody" if os.geteuid() == 0 else None
        self.directory = Path(tempfile.mkdtemp(prefix="iacq-unprivileged-", dir="/tmp"))
        self.python_path = [self.directory / "checkout", self.directory / "site-packages"]

    def __enter__(self) -> Self:
        try:
            for name in ("iacq", "workers"):
                shutil.copytree(
                    self._packages / name, self.python_path[0] / name, ignore=shutil.ignore_patterns("__pycache__")
                )
            shutil.copy(self._packages / "beat_schedule.py", self.python_path[0])
            # Linked: what is in a directory that only root may enter is readable all the same.
            shutil.copytree(sysconfig.get_path("purelib"), self.python_path[1], copy_function=_link)
            # redis imports it under Python < 3.11.3, for its half that nobody uses here; ours may be newer than theirs.
            (self.python_path[0] / "async_timeout.py").write_text("timeout = None\n")
            self.python = self._find_python()
            if self.user is not None:
                shutil.chown(self.directory, self.user)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.directory.chmod(0o755)
        shutil.rmtree(self.directory)

    def program(self, name: str) -> Path:
        """Copy a program that is on PATH to where this user may run it."""
        found = shutil.which(name)
        assert found, f"this test needs {name} on PATH"
        target = self.directory / "bin" / name
        target.parent.mkdir(exist_ok=True)
        _link(os.path.realpath(found), target)
        return target

    def close_all_but(self, name: str) -> Path:
        """Make a directory of that user's own, and let it write nowhere else here; returns that directory."""
        own = self.directory / name
        own.mkdir(mode=0o700)
        if self.user is not None:
            shutil.chown(own, self.user)
            shutil.chown(self.directory, "root")
        self.directory.chmod(0o555)
        return own

    def start(
        self, *arguments: str, environment: Mapping[str, str], log: Path, cwd: Path | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start Python as this user. It gets SIGTERM when the tests die."""
        paths = os.pathsep.join(map(str, self.python_path))
        with log.open("ab") as output:
            return subprocess.Popen(
                [self.python, "-P", *arguments],
                cwd=cwd or self.directory,
                env={"HOME": str(self.directory), "PATH": os.defpath, "PYTHONPATH": paths, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=child_process.die_with_parent(),  # noqa: PLW1509 - one prctl
                **self._identity(),
            )

    def _identity(self) -> dict[str, Any]:
        if self.user is None:
            return {}
        return {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []}

    def _find_python(self) -> str:
        """Find an interpreter of our version that this user may run: ours may be in root's home."""
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        check = _NEEDED.format(version=tuple(sys.version_info[:2]))
        for candidate in (os.path.realpath(sys.executable), f"/usr/local/bin/{version}", f"/usr/bin/{version}"):
            with contextlib.suppress(OSError):
                done = subprocess.run([candidate, "-c", check], env={}, cwd="/", check=False, **self._identity())
                if done.returncode == 0:
                    return candidate
        raise RuntimeError(f"{self.user} can run no {version}: install it in /usr (Debian: apt install {version})")


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
