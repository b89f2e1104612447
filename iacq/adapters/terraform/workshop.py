"""Directories of runs in one slot, and what terraform needs in them.

WORK_DIR/runs/<link>                    canonical path: a link to the tree, the same name wherever a run is applied
WORK_DIR/pods/<pod>/slot-N/<name>/tree  the source; in its root module .terraform, plan.out, terraform.tfstate
WORK_DIR/pods/<pod>/slot-N/<name>/module    a link to the root module: the tree, or a directory in it
WORK_DIR/pods/<pod>/slot-N/<name>/fetch     what git fetches, until it is the tree
WORK_DIR/pods/<pod>/slot-N/<name>/scratch   variable files, TMPDIR
WORK_DIR/pods/<pod>/slot-N/jobs/        the keeper's job directories
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from iacq.adapters import private_directory, short_directory
from iacq.adapters.providers import usage
from iacq.adapters.providers.mirror import ProviderMirror, read_lock_file
from iacq.adapters.sources import archives
from iacq.adapters.terraform import binary, versions
from iacq.adapters.terraform import cli_config as terraform_cli_config
from iacq.adapters.terraform import environment as terraform_environment
from iacq.domain import provider_lock
from iacq.domain.provider_lock import Installation, Pin
from iacq.errors import Conflict, PhaseFailed
from iacq.ports import Init, RunTree
from iacq.settings import Settings

_LABELS = {
    Installation.MIRROR_ONLY: "all from the mirror of this machine",
    Installation.SOURCE_ONLY: "from their source (the lock file knows other packages than the mirror)",
    Installation.MIRROR_THEN_SOURCE: "from the mirror of this machine, else from their source",
}


def slots_directory(settings: Settings, pod_name: str) -> Path:
    """Return where the slots of a pod keep their directories."""
    return settings.work_root / "pods" / pod_name


def slot_directory(settings: Settings, pod_name: str, slot_id: int) -> Path:
    """Return where one slot keeps its directories."""
    return slots_directory(settings, pod_name) / f"slot-{slot_id}"


def remove_slots(settings: Settings, pod_name: str) -> None:
    """Remove all directories of a pod of which nothing is alive, and the canonical paths that lead to them."""
    root = slots_directory(settings, pod_name)
    links = settings.work_root / "runs"
    for link in links.iterdir() if links.is_dir() else ():
        if link.is_symlink() and root in link.readlink().parents:
            link.unlink(missing_ok=True)
    for scratch in root.glob("slot-*/*/scratch"):
        short_directory.forget(scratch)
    shutil.rmtree(root, ignore_errors=True)


_MODULE = "module"


def _cannot_make(directory: Path, error: Exception) -> PhaseFailed:
    return PhaseFailed(f"the run's directory {directory} cannot be made: {error}", code="directory")


class SlotWorkshop:
    """Implements `ports.Workshop`."""

    def __init__(self, settings: Settings, pod_name: str, slot_id: int, host_environ: Mapping[str, str]) -> None:
        """Make the slot's directories. host_environ: of this machine, from which terraform sees what it may."""
        private_directory.ensure(settings.work_root)
        self.directory = slot_directory(settings, pod_name, slot_id)
        self.jobs = self.directory / "jobs"
        self._links = settings.work_root / "runs"
        for made in (self.jobs, self._links):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._settings = settings
        self._host_environ = host_environ
        self._mirror = ProviderMirror(root=settings.mirror)
        self._mirror.prepare()

    def fetch_directory(self, name: str) -> Path:
        """Make an empty, private directory for what is fetched."""
        directory = self.directory / name / "fetch"
        try:
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.mkdir(mode=0o700)
        except OSError as error:
            raise _cannot_make(directory, error) from error
        return directory

    def unpack_source(self, name: str, link: str, packed: bytes, *, subdir: str | None = None) -> RunTree:
        """Make the directory of a source."""
        limit = archives.unpacked_limit(self._settings.max_source)
        return self._make(name, link, subdir, lambda source: archives.unpack(packed, source, limit_bytes=limit))

    def unpack_snapshot(
        self, name: str, link: str, packed: bytes, *, subdir: str | None = None, lead: bool = True
    ) -> RunTree:
        """Make the directory that a plan left elsewhere."""
        return self._make(name, link, subdir, lambda source: archives.unpack_snapshot(packed, source), lead=lead)

    def _make(
        self, name: str, link: str, subdir: str | None, fill: Callable[[Path], None], *, lead: bool = True
    ) -> RunTree:
        tree = self._tree(name, link, subdir)
        try:
            tree.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            tree.scratch.mkdir(mode=0o700)
            fill(tree.source)
            (tree.home / _MODULE).symlink_to(Path("tree", subdir or ""))
            if lead:
                self._point(self._links / link, tree.source)
        except (OSError, Conflict) as error:
            raise _cannot_make(tree.home, error) from error
        return tree

    def _tree(self, name: str, link: str, subdir: str | None) -> RunTree:
        home, below = self.directory / name, subdir or ""
        return RunTree(
            home=home,
            source=home / "tree",
            tree=home / "tree" / below,
            path=self._links / link / below,
            scratch=home / "scratch",
        )

    def _point(self, link: Path, source: Path) -> None:
        """Lead the canonical path here, in one step."""
        draft = link.with_name(f".{link.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        draft.symlink_to(source)
        draft.replace(link)

    def kept(self, name: str, link: str) -> RunTree | None:
        """Return a directory that is still here and that its canonical path leads to."""
        tree = self._present(name, link)
        try:
            leads_here = tree is not None and (self._links / link).readlink() == tree.source
        except OSError:
            return None
        return tree if leads_here else None

    def take(self, name: str, link: str) -> RunTree | None:
        """Let the canonical path lead to a directory that was prepared here."""
        tree = self._present(name, link)
        if tree is not None:
            self._point(self._links / link, tree.source)
        return tree

    def _present(self, name: str, link: str) -> RunTree | None:
        try:
            subdir = str((self.directory / name / _MODULE).readlink().relative_to("tree"))
        except (OSError, ValueError):
            return None
        tree = self._tree(name, link, subdir)
        return tree if tree.tree.is_dir() else None

    def snapshot(self, tree: RunTree) -> bytes:
        """Pack the directory as the plan left it."""
        return archives.pack_snapshot(tree.source, module=tree.tree.relative_to(tree.source))

    def remove(self, name: str) -> None:
        """Remove a directory, and the canonical paths that lead to it."""
        home = self.directory / name
        for link in self._links.iterdir():
            if link.is_symlink() and link.readlink() == home / "tree":
                link.unlink(missing_ok=True)
        short_directory.forget(home / "scratch")
        shutil.rmtree(home, ignore_errors=True)

    def size(self, name: str) -> int:
        """Return how many bytes a directory takes on the disk, without what its links lead to."""
        total = 0
        for above, directories, files in os.walk(self.directory / name):
            for entry in (*directories, *files):
                with contextlib.suppress(FileNotFoundError):  # terraform may be at work
                    total += os.lstat(os.path.join(above, entry)).st_blocks * 512
        return total

    def names(self) -> list[str]:
        """Return the names of all directories of runs in this slot."""
        return sorted(item.name for item in self.directory.iterdir() if item.is_dir() and item.name != "jobs")

    def terraform(self, version: str | None) -> Mapping[str, Any]:
        """Return path, version, sha256 and stat of terraform."""
        return binary.fingerprint(versions.find(self._settings, version))

    def environment(self, tree: RunTree, workspace: Mapping[str, str], *, own_backend: bool) -> dict[str, str]:
        """Return the complete environment of a command."""
        return terraform_environment.build(
            self._settings,
            self._host_environ,
            workspace,
            cwd=tree.path,
            temporary=short_directory.name(tree.scratch),
            cli_config=tree.scratch / "terraform.rc",
            own_backend=own_backend,
        )

    def init(self, tree: RunTree, program: Path, *, readonly_lock: bool) -> Init:
        """Say how to initialize: from the mirror alone if it has all that the lock file names."""
        discarded = self._mirror.discard_changed()
        if not readonly_lock:
            self._mirror.complete_lock_file(tree.tree)
        _lock_before(tree).write_text(read_lock_file(tree.tree))
        way = self._init(tree, program, self._mirror.choose(tree.tree))
        if discarded:
            changed = ", ".join(discarded)
            return dataclasses.replace(way, label=f"{way.label}; removed there, since it was changed: {changed}")
        return way

    def init_after(self, tree: RunTree, failed: Init, errors: Sequence[str]) -> Init | None:
        """Say how to try again: the configuration may require a provider that the lock file lacks."""
        way = provider_lock.retry_after(Installation(failed.name), errors)
        return None if way is None else self._init(tree, failed.program, way)

    def _init(self, tree: RunTree, program: Path, way: Installation) -> Init:
        # Every command of the run reads this file: credentials for modules and backends are in it as well.
        terraform_cli_config.write(
            tree.scratch / "terraform.rc",
            way,
            mirror=self._mirror.packages,
            settings=self._settings,
            host_environ=self._host_environ,
            program=program,
            tree=tree.tree,
        )
        return Init(program=program, name=way, label=_LABELS[way])

    def using_providers(self) -> AbstractContextManager[None]:
        """Keep packages of the mirror from being removed."""
        return usage.using(self._mirror)

    def settle_init(self, tree: RunTree) -> None:
        """Move what init downloaded into the mirror, where every slot of this machine finds it."""
        self._mirror.adopt(tree.tree, provider_lock.parse(_lock_before(tree).read_text()))

    def link_providers(self, tree: RunTree, program: Path, wanted: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """Link providers from the mirror, if it has all of them with the content that the plan used."""
        self._init(tree, program, Installation.MIRROR_ONLY)
        pins = [
            Pin(address=str(one.get("address")), version=str(one.get("version")), h1=str(one.get("h1")))
            for one in wanted
        ]
        missing = tuple(f"{pin.address} {pin.version}" for pin in self._mirror.missing(pins))
        if not missing:
            self._mirror.link(tree.tree, pins)
        return missing

    def providers(self, tree: RunTree) -> Sequence[Mapping[str, Any]]:
        """Return address, version, stat and h1 of each provider that init linked."""
        return [
            {
                "address": provider.address,
                "version": provider.version,
                "stat": list(provider.stat),
                "h1": provider.h1,
            }
            for provider in self._mirror.providers(tree.tree)
        ]


def _lock_before(tree: RunTree) -> Path:
    """Where the lock file is kept as it was before init."""
    return tree.scratch / "before-init.lock.hcl"
