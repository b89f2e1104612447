"""`iacq db`."""

from __future__ import annotations

import click

from iacq.bootstrap import schema
from iacq.cli import output
from iacq.cli.app import App
from iacq.cli.command import Command, Group, pass_app
from iacq.errors import Unavailable
from iacq.store import migrate


@click.group(cls=Group)
def db() -> None:
    """Bring the database to the present schema, or check it."""


@db.command(cls=Command, example="iacq db upgrade --sql > upgrade.sql")
@click.option("--sql", is_flag=True, help="Print the statements instead of running them.")
@pass_app
def upgrade(app: App, sql: bool) -> None:
    """Run every migration that the database has not seen."""
    if sql:
        text = migrate.upgrade_sql(app.settings.sqlalchemy_url)
        if app.as_json:
            output.emit({"sql": text})
        else:
            output.line(text.rstrip("\n"))
        return
    schema.prepare(app.settings)
    if app.as_json:
        output.emit({"current": True})
    else:
        output.line("The database has the present schema.")


@db.command(cls=Command, example="iacq db check")
@pass_app
def check(app: App) -> None:
    """Tell whether the database answers and has the present schema."""
    if not schema.is_current(app.settings):
        raise Unavailable(
            "the database does not have the present schema",
            field="IACQ_DATABASE_URL",
            hint="`iacq db upgrade`",
            code="database_not_migrated",
        )
    if app.as_json:
        output.emit({"current": True})
    else:
        output.line("The database answers and has the present schema.")
