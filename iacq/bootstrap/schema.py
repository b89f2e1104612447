"""The database as the command line finds it: reachable, with the present schema, sealed with the keys that are here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from iacq.adapters import keys, private_directory
from iacq.adapters.sealer import AesGcmSealer
from iacq.errors import Conflict, Unavailable
from iacq.services import key_check, participating
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
    if migrate.upgrade(settings.sqlalchemy_url):
        with contextlib.closing(_open(settings)) as database:
            participating.demand_this(database)  # nothing older was ever here
    require(settings)


def finish_upgrade(settings: Settings) -> bool:
    """Run what may be done once nothing older runs any more, and let nothing older take part from now on.

    Tells whether there was anything to do. Raises Conflict while something older is heard, or if `prepare` was not
    done; Unavailable.
    """
    url = settings.sqlalchemy_url
    if not is_current(settings):
        raise Conflict(
            "the first part of the upgrade has not been done",
            field="--after",
            hint="`iacq db upgrade`, then replace every process, then `iacq db upgrade --after`",
            code="not_upgraded",
        )
    with contextlib.closing(_open(settings)) as database:
        participating.require(database)
        participating.require_nothing_older(database, silence_ms=int(settings.agent_offline * 1000))
        new = participating.demand_this(database)
        # One that began meanwhile, and has not registered yet, finds the demand; one that has, is found now.
        participating.require_nothing_older(database, silence_ms=int(settings.agent_offline * 1000))
    unseen = migrate.version(url) != migrate.newest()
    if unseen:
        migrate.upgrade(url, after=True)
    return new or unseen


def require(settings: Settings) -> None:
    """Check that this version may take part, and that everything stored can be opened with the keys that are here.

    Raises Conflict(code=too_old), InvalidInput(code=wrong_key).
    """
    with contextlib.closing(_open(settings)) as database:
        participating.require(database)
        key_check.require(database, AesGcmSealer(keys.load(settings)))


def look_at_keys(settings: Settings) -> None:
    """The same without a trace, and without an error while the database is away or not migrated."""
    with (
        contextlib.suppress(Unavailable),
        contextlib.closing(Database(settings.sqlalchemy_url, pool_size=1)) as database,
    ):
        if is_current(settings):
            key_check.look(database, AesGcmSealer(keys.load(settings)))


def _open(settings: Settings) -> Database:
    return Database(settings.sqlalchemy_url, pool_size=1)


def upgrade_sql(settings: Settings, *, after: bool) -> str:
    """Return the migrations that `prepare` would run in this database, or `finish_upgrade`; empty if there are none.

    Raises Unavailable, InvalidInput.
    """
    return migrate.upgrade_sql(settings.sqlalchemy_url, after=after)


def look(settings: Settings) -> Findings:
    """Return what the database has beside what iacq needs. Raises Unavailable if it is away."""
    from iacq.store import inspecting
    from iacq.store.inspecting import Findings

    if _is_yet_to_be_made(settings):
        return Findings(version=None, required=migrate.required(), newest=migrate.newest())
    _reach(settings)
    return inspecting.look(settings.sqlalchemy_url)


def is_current(settings: Settings) -> bool:
    """Tell whether the database has seen every migration that this version needs. Raises Unavailable if it is away."""
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
