"""Bring a database to the present schema. The migrations are part of the package."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from iacq.errors import Conflict, Unavailable
from iacq.store.session import Database

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "iacq_version"
"""Of our own: whoever else keeps tables in the database may use alembic too, and its usual name."""
_LOCK_NOT_AVAILABLE = "55P03"
_INSUFFICIENT_PRIVILEGE = "42501"


SCRIPTS = str(resources.files("iacq.store") / "migrations")
BEFORE, AFTER = "before", "after"
"""What a migration says of itself as `part`. Before: processes of the version before go on working, so it comes before
they are replaced (it adds). After: only once nothing older runs any more (it removes what nobody uses now)."""


def _config(url: str, output: io.StringIO | None = None) -> Config:
    from alembic.config import Config

    config = Config(output_buffer=output) if output else Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["url"] = url
    return config


def upgrade(url: str, *, after: bool = False) -> bool:
    """Run every migration that the database at `url` has not seen: all of them or, after an error, none.

    after: also those at the end for which nothing older may run any more; a database that was never seen has nothing
    older, and gets all. Returns whether that was so. Raises InvalidInput for a table that was there before and does not
    fit; Conflict if those of the version before are lacking; Unavailable if the database is away, newer, in use, or
    somebody else's.
    """
    from alembic import command

    with _translated():
        config, present = _config(url), version(url)
        fresh = present is None
        if not fresh:
            _require_neighbour(present, config)
        if after or not _has_seen(present, _required(config), config):
            command.upgrade(config, "head" if after or fresh else _required(config))
        return fresh


def _migrations(config: Config) -> list[tuple[str, str]]:
    """Return every migration, oldest first, with its part."""
    from alembic.script import ScriptDirectory

    scripts = reversed(list(ScriptDirectory.from_config(config).walk_revisions()))
    return [(script.revision, script.module.part) for script in scripts]


def _required(config: Config) -> str:
    """Return the migration that this version needs: the last one that comes before its processes."""
    return next(revision for revision, part in reversed(_migrations(config)) if part == BEFORE)


def _has_seen(present: str | None, revision: str, config: Config) -> bool:
    order = [known for known, _ in _migrations(config)]
    return present is not None and order.index(present) >= order.index(revision)


def _require_neighbour(present: str | None, config: Config) -> None:
    """Raise Conflict if there is an unseen migration of a version before this one that removes something."""
    known = [revision for revision, _ in _migrations(config)]
    unseen = _migrations(config)[known.index(present or "") + 1 : known.index(_required(config))]
    for revision, part in unseen:
        if part == AFTER:
            raise Conflict(
                f"migration {revision} of an earlier version has not been run",
                field="IACQ_DATABASE_URL",
                hint="run `iacq db upgrade --after` of the version before this one first: versions are not skipped",
                code="version_skipped",
            )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        if _pgcode(error.__cause__) != _LOCK_NOT_AVAILABLE:
            raise
        raise Unavailable(
            "others use a table that is to be changed: the upgrade gave up, and nothing was changed",
            field="IACQ_DATABASE_URL",
            hint="try again when no long transaction is running",
            code="database_in_use",
        ) from error
    except ProgrammingError as error:
        if _pgcode(error) != _INSUFFICIENT_PRIVILEGE:
            raise
        raise Unavailable(
            f"the upgrade is not allowed, and nothing was changed: {str(error.orig).strip()}",
            field="IACQ_DATABASE_URL",
            hint="run it as the owner of the tables, or let the owner run what `iacq db upgrade --sql` prints",
            code="not_allowed",
        ) from error


def _pgcode(error: BaseException | None) -> str | None:
    return getattr(getattr(error, "orig", None), "pgcode", None)


def upgrade_sql(url: str, *, after: bool = False) -> str:
    """Return the statements that `upgrade` would run in this very database; empty if there is nothing to do.

    Raises what `upgrade` raises, but for constraints and triggers of a table that was there before: those are tried out
    by `upgrade` only.
    """
    from alembic import command

    from iacq.store import existing

    output = io.StringIO()
    config = _config(url, output)
    present, found = None, None
    if not _is_missing(url):
        with _reading(url) as connection:
            present = version_of(connection)
            found = existing.find(connection) if present is None else None
    _check_known(present, config)
    target = _head(config) if present is None or after else _required(config)
    if _has_seen(present, target, config):
        return ""
    config.attributes["existing"] = found
    command.upgrade(config, f"{present}:{target}" if present else target, sql=True)
    return output.getvalue()


def version(url: str) -> str | None:
    """Return the last migration that the database has seen; None: not one. Raises Unavailable for a newer database."""
    with _reading(url) as connection:
        present = version_of(connection)
    _check_known(present, _config(url))
    return present


def is_current(url: str) -> bool:
    """Tell whether the database has seen every migration that this version needs."""
    config = _config(url)
    return _has_seen(version(url), _required(config), config)


def required() -> str:
    """Return the last migration that this version needs."""
    return _required(_config("sqlite://"))


def newest() -> str:
    """Return the last migration that there is: it may wait until nothing older runs any more."""
    return _head(_config("sqlite://"))


def version_of(connection: sa.Connection) -> str | None:
    """Return the last migration that was seen, as this connection finds it."""
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _head(config: Config) -> str:
    from alembic.script import ScriptDirectory

    return str(ScriptDirectory.from_config(config).get_current_head())


def _check_known(present: str | None, config: Config) -> None:
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if present is not None and present not in known:
        raise Unavailable(
            f"the database was upgraded by a newer iacq: it has seen migration {present}",
            field="IACQ_DATABASE_URL",
            hint="upgrade this iacq",
            code="database_newer",
        )


def _is_missing(url: str) -> bool:
    """Tell whether this is an SQLite database whose file does not exist: looking at it would make it."""
    address = sa.engine.make_url(url)
    return address.get_backend_name() == "sqlite" and not Path(address.database or "").exists()


@contextlib.contextmanager
def _reading(url: str) -> Iterator[sa.Connection]:
    with contextlib.closing(Database(url, pool_size=1)) as database, database.transaction(reading=True) as tx:
        yield tx.connection
