"""What every command gets: settings, a client made at first use, and how to talk to whoever called."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from iacq.cli import output

if TYPE_CHECKING:
    from iacq.client import Client
    from iacq.settings import Settings


def connect(settings: Settings) -> Client:
    """Make a client. An embedded database that does not exist yet is made."""
    from iacq.client import Client

    if settings.database_url is None and not (settings.home / "iacq.db").exists():
        from iacq.bootstrap import schema

        schema.prepare(settings)
    return Client.from_env(settings)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


@dataclass(kw_only=True)
class App:
    """One call of the command line."""

    as_json: bool = False
    connect: Callable[[Settings], Client] = connect
    is_terminal: Callable[[], bool] = _is_terminal  # somebody can be asked
    clock: Callable[[], float] = field(default=time.time)  # seconds since the epoch, for ages

    @cached_property
    def settings(self) -> Settings:
        """The settings of this process. Raises InvalidInput."""
        from iacq import settings

        return settings.load()

    @cached_property
    def client(self) -> Client:
        """The client, connected when it is used."""
        return self.connect(self.settings)

    @property
    def may_ask(self) -> bool:
        """Tell whether a question would reach a person."""
        return self.is_terminal() and not self.as_json

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.clock() * 1000)

    def hear_warnings(self) -> None:
        """Show warnings of iacq as such on stderr; libraries are silent: their errors arrive translated."""
        logging.getLogger().handlers[:] = [logging.NullHandler()]
        logging.getLogger("iacq").handlers[:] = [_Warnings(logging.WARNING)]

    def warn_if_nobody_dispatches(self) -> None:
        """Say that what was stored starts later, if no control worker is there."""
        if not self.client.control_seen():
            output.warn("stored; it starts when iacq runs: `iacq up`")


class _Warnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        output.warn(record.getMessage())
