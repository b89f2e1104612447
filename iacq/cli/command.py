"""Commands and groups as iacq wants them: an example in the help, `--json`, imports when used."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import click

from iacq.cli.app import App
from iacq.cli.catalogue import Entry

pass_app = click.make_pass_decorator(App)


class Command(click.Command):
    """A command with an example below its options, and `--json`."""

    def __init__(self, *arguments: Any, example: str, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.example = example
        self.params.append(
            click.Option(
                ["--json"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_as_json,
                help="Print JSON with stable keys; times are RFC 3339 in UTC.",
            )
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the example."""
        with formatter.section("Example"):
            for line in self.example.split("\n"):
                formatter.write_text(line)


def _as_json(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(App).as_json = True


class Group(click.Group):
    """A group that guesses what was meant by a name it does not have."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. Raises UsageError with the nearest names."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=2)
            guess = f"; did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!a}{guess}", ctx=ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A group that imports a command when it is used, and shows its help from a table."""

    def __init__(
        self,
        *arguments: Any,
        sections: Mapping[str, Mapping[str, Entry]],
        epilog_lines: tuple[str, ...],
        **more: Any,
    ) -> None:
        super().__init__(*arguments, **more)
        self._sections = sections
        self._epilog_lines = epilog_lines
        self._entries = {name: entry for section in sections.values() for name, entry in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Name the commands in the order of the table."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import a command; None if there is no such name."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        module, attribute = entry.where.split(":")
        found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, click.Command):
            raise TypeError(f"{entry.where} is no command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the table."""
        width = max(map(len, self._entries))
        for title, entries in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), entry.short) for name, entry in entries.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write what ends the help, line by line."""
        formatter.write_paragraph()
        for line in self._epilog_lines:
            formatter.write_text(line)
