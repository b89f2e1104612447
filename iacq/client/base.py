"""What every call needs: the core, who calls, and the two things that most calls are about."""

from __future__ import annotations

import functools
from types import TracebackType
from typing import Self

from iacq import bootstrap
from iacq.domain import fields
from iacq.domain.run import Run
from iacq.domain.workspace import Workspace
from iacq.services import confirming, key_check
from iacq.services.core import Core
from iacq.settings import Settings
from iacq.store import workspaces as workspace_rows


class Base:
    """Opens and closes what a client talks to."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @classmethod
    def from_env(cls, settings: Settings | None = None) -> Self:
        """Build a client from the environment (or given settings)."""
        return cls(bootstrap.client_core(settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open. The next call opens it again."""
        self._core.database.close()
        self._core.dispatcher.close()

    @functools.cached_property
    def _sealing(self) -> Core:
        """The same for what seals or opens something: its keys were compared with those in use, once."""
        key_check.require(self._core.database, self._core.sealer)
        return self._core

    def warm(self) -> None:
        """Connect to database and broker now, so that the next call is fast; a broker that is away is no error."""
        self._core.database.warm()
        bootstrap.warm_quietly(self._core)

    def get(self, run_id: int) -> Run:
        """Return a run. Raises NotFound."""
        return confirming.get_run(self._core, run_id)

    def workspace(self, name: str) -> Workspace:
        """Return a workspace. Raises NotFound."""
        return self._core.database.read(workspace_rows.get, name)

    def _who(self, by: str | None) -> str:
        return fields.text(by or self._core.settings.who, "by", longest=200)
