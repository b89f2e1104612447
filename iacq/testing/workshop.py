"""Directories of runs without archives, providers or a terraform."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from iacq.ports import Init, RunTree

SNAPSHOT = b"a snapshot"
_CONFIGURATION = 'terraform {\n  backend "elsewhere" {}\n}\n'
_TERRAFORM = {
    "path": "/usr/bin/terraform",
    "version": "1.11.4",
    "sha256": "0" * 64,
    "stat": [1, 1, 1, 1, 1],
}


class ScriptedWorkshop:
    """Implements `ports.Workshop` with real, nearly empty directories; the configuration keeps its own state."""

    def __init__(
        self, root: Path, links: Path, *, before: Callable[[str], None], lacks: Callable[[], tuple[str, ...]] = tuple
    ) -> None:
        """root: of this slot; links: of canonical paths, the same for all slots.

        before: told the name of each operation first; it may let others act, or raise. lacks: says which providers this
        machine lacks, each time that a directory is made without init.
        """
        self._lacks = lacks
        self._root = root
        self._links = links
        self._before = before
        self.jobs = root / "jobs"
        for directory in (self.jobs, root / "runs", links):
            directory.mkdir(parents=True, exist_ok=True)

    def fetch_directory(self, name: str) -> Path:
        """Make a directory for what is fetched."""
        self._before("fetch_directory")
        directory = self._root / "runs" / name / "fetch"
        directory.mkdir(parents=True)
        return directory

    def unpack_source(self, name: str, link: str, packed: bytes, *, subdir: str | None = None) -> RunTree:
        """Make the directory of a claim; its root module is at the root."""
        self._before("unpack_source")
        del packed, subdir
        return self._make(name, link)

    def unpack_snapshot(
        self, name: str, link: str, packed: bytes, *, subdir: str | None = None, lead: bool = True
    ) -> RunTree:
        """Make it elsewhere than the plan."""
        self._before("unpack_snapshot")
        del packed, subdir
        return self._make(name, link, lead=lead)

    def take(self, name: str, link: str) -> RunTree | None:
        """Lead the link to a directory that is still there."""
        self._before("take")
        tree = self._tree(name, link)
        if not tree.tree.is_dir():
            return None
        _lead(tree)
        return tree

    def kept(self, name: str, link: str) -> RunTree | None:
        """Return a directory that is still there, and that its link leads to."""
        self._before("kept")
        tree = self._tree(name, link)
        return tree if tree.path.exists() and tree.path.resolve() == tree.tree.resolve() else None

    def snapshot(self, tree: RunTree) -> bytes:
        """Pack nothing."""
        del tree
        self._before("snapshot")
        return SNAPSHOT

    def names(self) -> list[str]:
        """Return the names of all directories of runs."""
        return sorted(path.name for path in (self._root / "runs").iterdir())

    def remove(self, name: str) -> None:
        """Remove a directory and the links to it."""
        self._before("remove")
        shutil.rmtree(self._root / "runs" / name, ignore_errors=True)

    def size(self, name: str) -> int:
        """Return a mebibyte for each directory that is there."""
        return 2**20 * (self._root / "runs" / name).is_dir()

    def terraform(self, version: str | None) -> Mapping[str, Any]:
        """Return a terraform that never changes."""
        del version
        return _TERRAFORM

    def environment(self, tree: RunTree, workspace: Mapping[str, str], *, own_backend: bool) -> dict[str, str]:
        """Return the workspace's own."""
        del tree, own_backend
        return dict(workspace)

    def init(self, tree: RunTree, program: Path, *, readonly_lock: bool) -> Init:
        """Say how to initialize: there is one way."""
        del tree, readonly_lock
        return Init(program=program, name="mirror", label="a mirror")

    def init_after(self, tree: RunTree, failed: Init, errors: Sequence[str]) -> Init | None:
        """Say that there is no other way."""
        del tree, failed, errors
        return None

    def using_providers(self) -> AbstractContextManager[None]:
        """Keep nothing: there are no providers."""
        return nullcontext()

    def settle_init(self, tree: RunTree) -> None:
        """Keep nothing: nothing was downloaded."""
        del tree

    def link_providers(self, tree: RunTree, program: Path, wanted: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """Link nothing: there are none, or they are lacking."""
        self._before("link_providers")
        del tree, program, wanted
        return self._lacks()

    def providers(self, tree: RunTree) -> Sequence[Mapping[str, Any]]:
        """Return none."""
        del tree
        return ()

    def _tree(self, name: str, link: str) -> RunTree:
        home = self._root / "runs" / name
        tree = home / "tree"
        return RunTree(home=home, source=tree, tree=tree, path=self._links / link, scratch=home / "scratch")

    def _make(self, name: str, link: str, *, lead: bool = True) -> RunTree:
        tree = self._tree(name, link)
        for directory in (tree.tree, tree.scratch):
            directory.mkdir(parents=True, exist_ok=True)
        (tree.tree / "main.tf").write_text(_CONFIGURATION)
        if lead:
            _lead(tree)
        return tree


def _lead(tree: RunTree) -> None:
    tree.path.unlink(missing_ok=True)
    tree.path.symlink_to(tree.tree)
