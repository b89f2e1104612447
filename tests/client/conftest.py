"""A client of a real database and a real broker, with nobody who works behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from iacq.client import Client
from iacq.domain.workspace import Workspace
from iacq.settings import Settings, load


@pytest.fixture
def settings(database_url: str, broker_url: str, home: Path) -> Settings:
    values = {"IACQ_HOME": str(home), "IACQ_DATABASE_URL": database_url, "IACQ_BROKER_URL": broker_url}
    return load({**values, "IACQ_ACTOR": "tester"}, home)


@pytest.fixture
def client(settings: Settings, tmp_path: Path) -> Iterator[Client]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.tf").write_text("")
    with Client.from_env(settings) as made:
        made.create_workspace(Workspace(name="it", pool="default", path=str(source), auto_apply=False))
        yield made
