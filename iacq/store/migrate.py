"""Bring a database to the present schema. The migrations are part of the package."""

from __future__ import annotations

import io
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config


def _config(url: str, output: io.StringIO | None = None) -> Config:
    from alembic.config import Config

    config = Config(output_buffer=output) if output else Config()
    config.set_main_option("script_location", str(resources.files("iacq.store") / "migrations"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Run every migration that the database at `url` has not seen."""
    from alembic import command

    command.upgrade(_config(url), "head")


def upgrade_sql(url: str) -> str:
    """Return the statements of all migrations instead of running them."""
    from alembic import command

    output = io.StringIO()
    command.upgrade(_config(url, output), "head", sql=True)
    return output.getvalue()


def is_current(url: str) -> bool:
    """Tell whether the database has seen every migration."""
    import sqlalchemy as sa
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            present = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    return present == ScriptDirectory.from_config(_config(url)).get_current_head()
