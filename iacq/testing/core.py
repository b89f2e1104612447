"""A Core on a real database with every other port faked."""

from __future__ import annotations

from pathlib import Path

from iacq.services.core import Core
from iacq.settings import Settings
from iacq.store.session import Database
from iacq.testing.clock import FakeClock
from iacq.testing.dispatcher import RecordingDispatcher
from iacq.testing.source import FakeSource, without_backend
from iacq.testing.storage import MemoryArtifacts, PlainSealer
from iacq.testing.terraform_versions import FakeTerraformVersions


def make_core(
    url: str,
    home: Path,
    *,
    clock: FakeClock | None = None,
    dispatcher: RecordingDispatcher | None = None,
    settings: Settings | None = None,
) -> Core:
    """Build a Core on a migrated database. clock: also the database's; None: the database uses its own."""
    return Core(
        settings=settings or Settings(home=home),
        database=Database(url, clock=clock.now_ms if clock else None),
        dispatcher=dispatcher or RecordingDispatcher(),
        artifacts=MemoryArtifacts(),
        sealer=PlainSealer(),
        clock=clock or FakeClock(),
        source=FakeSource(without_backend()),
        terraforms=FakeTerraformVersions("1.0.3", "1.11.4"),
    )
