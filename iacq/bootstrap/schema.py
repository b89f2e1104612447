"""The database as the command line finds it: reachable, with the present schema, sealed with the keys that are here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from iacq.adapters import keys, private_directory
from iacq.adapters.sealer import AesGcmSealer
from iacq.errors import Unavailable
from iacq.services import key_check
from iacq.settings import Settings
from iacq.store import migrate
from iacq.store.session import Database

if TYPE_CHECKING:
    from iacq.store.inspecting import Findings


def prepare(settings: Settings) -> None:
    """Make HOME and the keys, where they are embedded, run the migrations, and check the keys.

    Raises Unavailable, InvalidInput.
    """
    if settings.database_url is None:
        private_directory.ensure(settings.home)
    keys.load(settings)
    _reach(settings)
    migrate.upgrade(settings.sqlalchemy_url)
    require_keys(settings)


def require_keys(settings: Settings) -> None:
    """Raise InvalidInput(code=wrong_key) unless everything stored can be opened with the keys that are here."""
    with contextlib.closing(Database(settings.sqlalchemy_url, pool_size=1)) as database:
        key_check.require(database, AesGcmSealer(keys.load(settings)))


def look_at_keys(settings: Settings) -> None:
    """The same without a trace, and without an error while the database is away or not migrated."""
    with (
        contextlib.suppress(Unavailable),
        contextlib.closing(Database(settings.sqlalchemy_url, pool_size=1)) as database,
    ):
        if is_current(settings):
            key_check.look(database, AesGcmSealer(keys.load(settings)))


def upgrade_sql(settings: Settings) -> str:
    """Return the statements that `prepare` would run in this database; empty if there is nothing to do.

    Raises Unavailable, InvalidInput.
    """
    return migrate.upgrade_sql(settings.sqlalchemy_url)


def look(settings: Settings) -> Findings:
    """Return what the database has beside what iacq needs. Raises Unavailable if it is away."""
    from iacq.store import inspecting
    from iacq.store.inspecting import Findings

    if _is_yet_to_be_made(settings):
        return Findings(version=None, newest=migrate.newest())
    _reach(settings)
    return inspecting.look(settings.sqlalchemy_url)


def is_current(settings: Settings) -> bool:
    """Tell whether the database has seen every migration. Raises Unavailable if it is away."""
    if _is_yet_to_be_made(settings):
        return False
    _reach(settings)
    return migrate.is_current(settings.sqlalchemy_url)


def _is_yet_to_be_made(settings: Settings) -> bool:
    return settings.database_url is None and not (settings.home / "iacq.db").exists()


def _reach(settings: Settings) -> None:
    """Ask through `Database`, which gives up within seconds and says it in iacq's words."""
    with contextlib.closing(Database(settings.sqlalchemy_url, pool_size=1)) as database:
        database.warm()
