"""A repository that is a script: what a fetch of it brings, without any git."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from iacq.domain.source import SourceLocation
from iacq.ports import FetchedSource, GitCommands, PackedSource
from iacq.testing.source import PACKED, without_backend

COMMIT = "c0" * 20


class FakeGit:
    """Implements `ports.Git`: one command, and the same configuration at every ref."""

    def prepare(self, directory: Path, location: SourceLocation, workspace: Mapping[str, str]) -> GitCommands:
        """Say what to run."""
        argv = ("git", "fetch", "--", location.at, location.ref or "HEAD")
        return GitCommands(steps=(("git_fetch", argv),), directory=directory, environment=dict(workspace))

    def take(self, directory: Path, location: SourceLocation, *, limit: int) -> FetchedSource:
        """Say what was fetched."""
        del directory, location, limit
        return FetchedSource(packed=PackedSource(data=PACKED, facts=without_backend()), commit=COMMIT)
