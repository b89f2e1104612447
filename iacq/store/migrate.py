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

from iacq.errors import Unavailable
from iacq.store.session import Database

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "iacq_version"
"""Of our own: whoever else keeps tables in the database may use alembic too, and its usual name."""
_LOCK_NOT_AVAILABLE = "55P03"
_INSUFFICIENT_PRIVILEGE = "42501"


def _config(url: str, output: io.StringIO | None = None) -> Config:
    from alembic.config import Config

    config = Config(output_buffer=output) if output else Config()
    config.set_main_option("script_location", str(resources.files("iacq.store") / "migrations"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Run every migration that the database at `url` has not seen: all of them or, after an error, none.

    Raises InvalidInput for a table that was there before and does not fit; Unavailable if the database is away, newer,
    in use, or somebody else's.
    """
    from alembic import command

    with _translated():
        version(url)
        command.upgrade(_config(url), "head")


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


def upgrade_sql(url: str) -> str:
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
    if present == _head(config):
        return ""
    config.attributes["existing"] = found
    command.upgrade(config, f"{present}:head" if present else "head", sql=True)
    return output.getvalue()


def version(url: str) -> str | None:
    """Return the last migration that the database has seen; None: not one. Raises Unavailable for a newer database."""
    with _reading(url) as connection:
        present = version_of(connection)
    _check_known(present, _config(url))
    return present


def is_current(url: str) -> bool:
    """Tell whether the database has seen every migration."""
    return version(url) == _head(_config(url))


def newest() -> str:
    """Return the last migration that there is."""
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
