"""The providers of this machine, each version once: an unpacked filesystem mirror that terraform links to.

Layout below the root: `packages/` is what terraform reads, `hashes/` keeps each package's hash, and a package
that cannot be moved in is completed in `incoming/`. Nothing in `packages/` is ever changed or removed.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from iacq.adapters import provider_packages
from iacq.adapters.provider_packages import Package, Stat
from iacq.domain import provider_lock
from iacq.domain.provider_lock import Installation, Locked, Pin
from iacq.errors import InvalidInput

_LEFTOVER_SECONDS = 6 * 3600.0
_PART = re.compile(r"[^\W_][\w.:+-]*")


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A provider that init linked into a tree."""

    address: str  # HOST/NAMESPACE/TYPE
    version: str
    h1: str
    path: Path  # of the package, links followed
    stat: Stat  # of the provider's program

    @property
    def pin(self) -> Pin:
        """What a snapshot keeps of it."""
        return Pin(address=self.address, version=self.version, h1=self.h1)


@dataclass(frozen=True, kw_only=True)
class ProviderMirror:
    """The mirror below one directory, shared by all slots of a pod."""

    root: Path

    @property
    def packages(self) -> Path:
        """What goes into terraform's CLI configuration as `filesystem_mirror`."""
        return self.root / "packages"

    def prepare(self) -> None:
        """Create the directories: terraform refuses a mirror that is not there."""
        for directory in (self.packages, self.root / "incoming"):
            directory.mkdir(parents=True, exist_ok=True)

    def choose(self, tree: Path) -> Installation:
        """Choose from where an init in `tree` takes providers, by its lock file."""
        try:
            text = (tree / provider_lock.LOCK_FILE).read_text(errors="replace")
        except FileNotFoundError:
            text = ""
        return provider_lock.choose(provider_lock.parse(text), self._mirrored)

    def adopt(self, tree: Path) -> None:
        """Bring what an init installed into the mirror, and make `tree` link to it.

        Safe while others do the same: whoever is first wins. A package that differs from the mirror's of that
        version stays where init put it, since the lock file names that one. Raises OSError.
        """
        self.prepare()
        for package in provider_packages.packages(_installed(tree)):
            if not _is_valid(package.address, package.version):
                continue
            target = self._package(package.address, package.version)
            real = package.path.resolve()
            if not real.is_dir() or (package.path.is_symlink() and package.path.readlink() == target):
                continue
            moved = not target.exists() and self._install(real, target, movable=not package.path.is_symlink())
            if moved or real == target.resolve() or provider_packages.h1(real) == self._h1(target):
                _link(package.path, target)

    def providers(self, tree: Path) -> list[Provider]:
        """List what init linked into `tree`. Raises OSError if a package is gone."""
        return [
            Provider(
                address=package.address,
                version=package.version,
                h1=self._h1_of(package),
                path=package.path.resolve(strict=True),
                stat=provider_packages.stat(provider_packages.binary(package.path) or package.path),
            )
            for package in provider_packages.packages(_installed(tree))
        ]

    def missing(self, wanted: Iterable[Pin]) -> list[Pin]:
        """Return those of a snapshot's providers that the mirror lacks, or has with another content."""
        return [
            pin
            for pin in wanted
            if self._mirrored(Locked(address=pin.address, version=pin.version, hashes=())) != pin.h1
        ]

    def link(self, tree: Path, wanted: Iterable[Pin]) -> None:
        """Link providers into `tree` as init does; `missing` must have said that all are here."""
        for pin in wanted:
            package = self._package(pin.address, pin.version)
            link = _installed(tree) / package.relative_to(self.packages)
            link.parent.mkdir(parents=True, exist_ok=True)
            _link(link, package)

    def _mirrored(self, locked: Locked) -> str | None:
        if not _is_valid(locked.address, locked.version):
            return None
        package = self._package(locked.address, locked.version)
        return self._h1(package) if package.is_dir() else None

    def _h1_of(self, package: Package) -> str:
        if _is_valid(package.address, package.version):
            target = self._package(package.address, package.version)
            if package.path.resolve() == target.resolve():
                return self._h1(target)
        return provider_packages.h1(package.path)

    def _package(self, address: str, version: str) -> Path:
        if not _is_valid(address, version):
            raise InvalidInput(f"provider {address!a} {version!a} is not HOST/NAMESPACE/TYPE with a version")
        return self.packages.joinpath(address, version, provider_packages.PLATFORM)

    def _h1(self, package: Path) -> str:
        name = package.relative_to(self.packages)
        return provider_packages.h1(package, self.root / "hashes" / name.with_name(f"{name.name}.json"))

    def _install(self, real: Path, target: Path, *, movable: bool) -> bool:
        """Make `real` the mirror's package, by moving if it may be; False: another process was faster."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if movable:
            _sync(real)
            try:
                return _move(real, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        self._sweep()
        incoming = Path(tempfile.mkdtemp(dir=self.root / "incoming"))
        try:
            shutil.copytree(real, incoming / "package")
            for directory, _, _ in os.walk(incoming):
                Path(directory).chmod(0o755)  # a read-only one can neither be moved nor removed
            _sync(incoming / "package")
            return _move(incoming / "package", target)
        finally:
            shutil.rmtree(incoming)

    def _sweep(self) -> None:
        """Remove what a killed process left in `incoming`."""
        for entry in (self.root / "incoming").iterdir():
            if time.time() - entry.stat().st_mtime > _LEFTOVER_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)


def _is_valid(address: str, version: str) -> bool:
    """Tell whether these may become a path of the mirror."""
    parts = (*address.split("/"), version)
    return len(parts) == 4 and all(_PART.fullmatch(part) for part in parts)


def _installed(tree: Path) -> Path:
    return tree / ".terraform" / "providers"


def _move(package: Path, target: Path) -> bool:
    """Rename a directory into place at once; False if something is there already."""
    try:
        os.rename(package, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    for directory, _, files in os.walk(target):
        for path in (Path(directory, name) for name in (*files, ".")):
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
    _sync_one(target.parent)
    return True


def _link(link: Path, target: Path) -> None:
    """Make `link` a link to `target`, whatever it was."""
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    temporary = link.with_name(f".{secrets.token_hex(8)}")
    temporary.symlink_to(target)
    os.replace(temporary, link)


def _sync(directory: Path) -> None:
    """Write a directory through to the disk: a power cut must not leave a broken provider for everyone."""
    for parent, _, files in os.walk(directory):
        for name in (*files, "."):
            _sync_one(Path(parent, name))


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
