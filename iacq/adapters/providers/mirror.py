"""The providers of this machine, each version once: an unpacked filesystem mirror that terraform links to.

Layout below the root: `packages/` is what terraform reads, `hashes/` keeps a record of each package, and a package
that cannot be moved in is completed in `incoming/`. Nothing in `packages/` is ever changed; what somebody else changed
there is removed before it is used.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from iacq import log
from iacq.adapters.providers import files
from iacq.adapters.providers import packages as provider_packages
from iacq.adapters.providers.packages import Package, Stat
from iacq.adapters.providers.records import Record
from iacq.domain import provider_lock
from iacq.domain.provider_lock import Installation, Locked, Pin
from iacq.errors import InvalidInput

logger = log.get(__name__)

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

    def discard_changed(self) -> list[str]:
        """Remove packages that are not what they were when they came; returns what they were, for people.

        An init under a lock file would refuse them, and then go to the source each time; one without would use them.
        Raises OSError.
        """
        found = []
        for package in provider_packages.packages(self.packages):
            if not _is_valid(package.address, package.version):
                continue
            record = self._record(package.path)
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                if record.is_changed():
                    self.discard(package.path)
                    found.append(f"{package.address} {package.version}")
                    logger.warning("provider %s was changed in the mirror: removed", found[-1])
        return found

    def choose(self, tree: Path) -> Installation:
        """Choose from where an init in `tree` takes providers, by its lock file."""
        return provider_lock.choose(provider_lock.parse(read_lock_file(tree)), self._mirrored)

    def complete_lock_file(self, tree: Path) -> None:
        """Add to a lock file of another platform the hashes of packages that terraform took under it before.

        Terraform then takes them from the mirror, and checks them against these. Raises OSError.
        """
        text = read_lock_file(tree)
        known = {}
        for entry in provider_lock.parse(text):
            h1 = self._mirrored(entry)
            if h1 is None or h1 in entry.hashes:
                continue
            if self._record(self._package(entry.address, entry.version)).accepts(entry.hashes):
                known[entry] = h1
        if known:
            (tree / provider_lock.LOCK_FILE).write_text(provider_lock.complete(text, known))

    def adopt(self, tree: Path, locked: Iterable[Locked] = ()) -> None:
        """Bring what an init installed into the mirror, and make `tree` link to it.

        locked: what the lock file said before that init. Safe while others do the same: whoever is first wins. A
        package that differs from the mirror's of that version stays where init put it, since the lock file names that
        one. Raises OSError.
        """
        self.prepare()
        allowed = {(entry.address, entry.version): entry.judged for entry in locked}
        for package in provider_packages.packages(_installed(tree)):
            if not _is_valid(package.address, package.version):
                continue
            target = self._package(package.address, package.version)
            real = package.path.resolve()
            if package.path.is_symlink() and package.path.readlink() == target:
                self._use(target)  # terraform took it from here
                continue
            if not real.is_dir():
                continue
            moved = not target.exists() and self._install(real, target, movable=not package.path.is_symlink())
            if not moved and real != target.resolve() and provider_packages.h1(real) != self._h1(target):
                continue
            files.link(package.path, target)
            self._use(target)
            h1, hashes = self._h1(target), allowed.get((package.address, package.version), ())
            if hashes and h1 not in hashes:
                self._record(target).accept(hashes)

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
            files.link(link, package)
            self._use(package)

    def discard(self, package: Path) -> None:
        """Remove a package: out of the way first, whole. Raises OSError, FileNotFoundError if another was faster."""
        record = self._record(package)
        incoming = Path(tempfile.mkdtemp(dir=self.root / "incoming"))
        try:
            package.chmod(0o755)  # a read-only directory cannot be moved
            os.rename(package, incoming / "package")
            record.file.unlink(missing_ok=True)  # only now: without a record, what is there counts as what came
        finally:
            files.remove(incoming)

    def last_used(self, package: Path) -> float:
        """Return when an init linked to a package last, or when it came; seconds since the epoch."""
        with contextlib.suppress(FileNotFoundError):
            return self._record(package).file.stat().st_mtime
        return package.stat().st_mtime

    def _use(self, package: Path) -> None:
        """Note that it is used now."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._record(package).file)

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
        return self._record(package).h1()

    def _record(self, package: Path) -> Record:
        name = package.relative_to(self.packages)
        return Record(package=package, file=self.root / "hashes" / name.with_name(f"{name.name}.json"))

    def _install(self, real: Path, target: Path, *, movable: bool) -> bool:
        """Make `real` the mirror's package, by moving if it may be; False: another process was faster."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if movable:
            files.sync(real)
            try:
                return files.move(real, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        self._sweep()
        incoming = Path(tempfile.mkdtemp(dir=self.root / "incoming"))
        try:
            shutil.copytree(real, incoming / "package")
            for directory, _, _ in os.walk(incoming):
                Path(directory).chmod(0o755)  # a read-only one can neither be moved nor removed
            files.sync(incoming / "package")
            return files.move(incoming / "package", target)
        finally:
            shutil.rmtree(incoming)

    def _sweep(self) -> None:
        """Remove what a killed process left in `incoming`."""
        for entry in (self.root / "incoming").iterdir():
            if time.time() - entry.stat().st_mtime > _LEFTOVER_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)


def read_lock_file(tree: Path) -> str:
    """Return the text of a dependency lock file; "" if there is none."""
    try:
        return (tree / provider_lock.LOCK_FILE).read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _is_valid(address: str, version: str) -> bool:
    """Tell whether these may become a path of the mirror."""
    parts = (*address.split("/"), version)
    return len(parts) == 4 and all(_PART.fullmatch(part) for part in parts)


def _installed(tree: Path) -> Path:
    return tree / ".terraform" / "providers"
