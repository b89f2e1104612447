"""`iacq db`."""

from __future__ import annotations

import dataclasses

import click

from iacq.bootstrap import schema
from iacq.cli import output, restored
from iacq.cli.app import App
from iacq.cli.command import Command, Group, pass_app
from iacq.domain import versions
from iacq.errors import InvalidInput, Unavailable
from iacq.services.reencrypting import Tally
from iacq.store.inspecting import Findings


@click.group(cls=Group)
def db() -> None:
    """Bring the database to the present schema, check it, or seal it with a new key."""


@db.command(cls=Command, example="iacq db upgrade --sql > upgrade.sql")
@click.option("--sql", is_flag=True, help="Print the statements for this database instead of running them.")
@click.option("--after", is_flag=True, help="End an upgrade: nothing older than this version runs any more.")
@pass_app
def upgrade(app: App, sql: bool, after: bool) -> None:
    """Run every migration that the database has not seen: all of them or, after an error, none.

    A table workspace_tasks that is there already gets columns, constraints and indexes; its rows are left as they are.

    Processes of the version before go on working. When all of them have been replaced, --after does the rest: what
    they would not have survived; and from then on nothing older may take part.
    """
    if sql:
        text = schema.upgrade_sql(app.settings, after=after)
        if app.as_json:
            output.emit({"sql": text})
        elif text:
            output.line(text.rstrip("\n"))
        else:
            output.note("The database has the present schema: there is nothing to do.")
        return
    if after:
        _finish(app)
        return
    schema.prepare(app.settings)
    if app.as_json:
        output.emit({"current": True})
    else:
        output.line("The database has the present schema.")


def _finish(app: App) -> None:
    changed = schema.finish_upgrade(app.settings)
    if app.as_json:
        output.emit({"current": True, "changed": changed})
    elif changed:
        output.line(f"The upgrade is over: what takes part speaks protocol {versions.PROTOCOL} or a newer one.")
    else:
        output.note("The upgrade was over already: there is nothing to do.")


@db.command(cls=Command, example="iacq db reencrypt")
@pass_app
def reencrypt(app: App) -> int:
    """Seal everything stored with the first key, beside a running system. Then the other keys can be given up.

    First give all processes both keys, the new one second, then first; then run this. It may be interrupted and run
    again. Exit code 1 if something could not be opened.
    """
    tallies = app.client.reencrypt(lambda tally: None if app.as_json else output.note(f"… {_tally(tally)}"))
    if app.as_json:
        output.emit([dataclasses.asdict(tally) for tally in tallies])
    for tally in tallies:
        if not app.as_json:
            output.line(_tally(tally))
            for why in tally.left:
                output.note(f"  {output.printable(why)}")
    return 1 if any(tally.left for tally in tallies) else 0


def _tally(tally: Tally) -> str:
    left = f", {len(tally.left)} could not be opened" if tally.left else ""
    return f"{tally.kind.replace('_', ' ')}: {tally.seen} looked at, {tally.rewritten} sealed anew{left}"


@db.command(cls=Command, example="iacq db check --restored")
@click.option("--restored", "was_restored", is_flag=True, help="After a restore: nothing of before starts again.")
@click.option("--force", is_flag=True, help="With --restored: although the system seems to be running.")
@pass_app
def check(app: App, was_restored: bool, force: bool) -> None:
    """Tell whether the database answers and has the present schema.

    With --restored, after it was restored from a backup and before iacq is started again: what may have been applied
    since the backup becomes apply_interrupted, plans that waited are discarded, the rest is planned anew.
    """
    if force and not was_restored:
        raise InvalidInput("--force goes with --restored", field="--force")
    found = schema.look(app.settings)
    _require_current(found)
    if was_restored:
        restored.settle(app, force=force)
    elif app.as_json:
        output.emit(
            {
                "current": True,
                "version": found.version,
                "missing": [],
                "foreign_rows": found.foreign_rows,
                "protocol": versions.PROTOCOL,
                "demanded_protocol": found.demanded,
                "upgrade_over": _is_over(found),
            },
        )
    else:
        output.line(f"The database answers and has the present schema ({found.version}).")
        if not _is_over(found):
            output.line("An upgrade is not over: when nothing older runs any more, `iacq db upgrade --after`.")
        if found.foreign_rows:
            output.line(f"workspace_tasks has {found.foreign_rows} rows that are not iacq's; they are left alone.")


def _is_over(found: Findings) -> bool:
    return found.version == found.newest and found.demanded >= versions.PROTOCOL


def _require_current(found: Findings) -> None:
    if not found.current:
        raise Unavailable(
            f"the database does not have the present schema: it has {found.version or 'none'}, not {found.required}",
            field="IACQ_DATABASE_URL",
            hint="`iacq db upgrade`",
            code="database_not_migrated",
        )
    if found.missing:
        raise Unavailable(
            f"the database lacks what an upgrade made: {', '.join(found.missing)}",
            field="IACQ_DATABASE_URL",
            hint="; ".join(found.repair) or "restore it from a backup",
            code="database_damaged",
        )
