"""The database as the command line finds it: reachable, and with the present schema."""

from __future__ import annotations

import contextlib

from iacq.adapters import keys, private_directory
from iacq.settings import Settings
from iacq.store import migrate
from iacq.store.session import Database


def prepare(settings: Settings) -> None:
    """Make HOME and the keys, where they are embedded, and run the migrations.

    Raises Unavailable, InvalidInput.
    """
    if settings.database_url is None:
        private_directory.ensure(settings.home)
    keys.load(settings)
    _reach(settings)
    migrate.upgrade(settings.sqlalchemy_url)


def is_current(settings: Settings) -> bool:
    """Tell whether the database has seen every migration. Raises Unavailable if it is away."""
    if settings.database_url is None and not (settings.home / "iacq.db").exists():
        return False
    _reach(settings)
    return migrate.is_current(settings.sqlalchemy_url)


def _reach(settings: Settings) -> None:
    """Ask through `Database`, which gives up within seconds and says it in iacq's words."""
    with contextlib.closing(Database(settings.sqlalchemy_url, pool_size=1)) as database:
        database.warm()
