"""`iacq settings`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from iacq import settings as settings_module
from iacq.cli import output
from iacq.cli.app import App
from iacq.cli.command import Command, pass_app

_UNITS = (("d", 86400), ("h", 3600), ("m", 60))


@click.command(cls=Command, example="iacq settings")
@pass_app
def settings(app: App) -> None:
    """Show every setting with its value, where it comes from, and what it means. Secrets are hidden."""
    sources = settings_module.sources()
    shown = [
        {
            "name": settings_module.PREFIX + entry.name.upper(),
            "value": _shown(entry, getattr(app.settings, entry.name)),
            "source": sources[entry.name],
            "meaning": entry.metadata["meaning"],
        }
        for entry in dataclasses.fields(app.settings)
    ]
    if app.as_json:
        output.emit(shown)
        return
    rows = [(item["name"], _text(item["value"]), item["source"], item["meaning"]) for item in shown]
    output.print_table(("SETTING", "VALUE", "SOURCE", "MEANING"), rows, empty="")


def _shown(entry: dataclasses.Field[Any], value: Any) -> Any:
    """Make a value for JSON: paths as text, times in seconds, sizes in bytes."""
    if value is not None and entry.metadata["secret"]:
        return "***"
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str | None:
    if isinstance(value, list):
        return ",".join(value) or None
    if isinstance(value, float):
        return _duration(value)
    return value if value is None else str(value)


def _duration(seconds: float) -> str:
    """Write a time as settings take it, in the largest unit that it is a whole number of."""
    whole = (f"{seconds / size:g}{unit}" for unit, size in _UNITS if seconds >= size and seconds % size == 0)
    return next(whole, f"{seconds:g}s")
