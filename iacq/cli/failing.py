"""Errors for people and programs: one block on stderr, JSON on stdout with `--json`, and the exit code."""

from __future__ import annotations

from dataclasses import dataclass

import click
from click.exceptions import Abort, MissingParameter, NoSuchOption

from iacq.cli import output
from iacq.errors import IacqError

INTERRUPTED = 130
"""Exit code after ^C."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What a reader needs to know about an error."""

    message: str  # empty: nothing to say
    exit_code: int
    code: str  # a stable word
    field: str | None = None  # the input it is about
    hint: str | None = None  # what to do


def describe(error: Exception) -> Failure:
    """Turn any exception into what is shown of it; never a traceback, nor a value that could be a secret."""
    if isinstance(error, IacqError):
        return Failure(
            message=error.message,
            exit_code=error.exit_code,
            code=error.code,
            field=error.field,
            hint=error.hint,
        )
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, Abort):
        return Failure(message="", exit_code=INTERRUPTED, code="interrupted")
    return _unexpected(error)


def report(failure: Failure, *, as_json: bool) -> int:
    """Print a failure; returns the exit code."""
    if failure.message:
        output.note("\n".join(_block(failure)))
        if as_json:
            shown = {
                "code": failure.code,
                "field": failure.field,
                "message": failure.message,
                "hint": failure.hint,
            }
            output.emit({"error": shown})
    return failure.exit_code


def _block(failure: Failure) -> list[str]:
    lines = [output.error_head(failure.message)]
    if failure.field:
        lines.append(f"  Field: {failure.field}")
    if failure.hint:
        lines.append(f"  Fix:   {failure.hint}")
    return lines


def _usage(error: click.ClickException) -> Failure:
    hint = None
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"`{error.ctx.command_path} --help` shows what it takes"
    message = error.format_message().rstrip(".")
    return Failure(message=message, exit_code=2, code="invalid_input", field=_field(error), hint=hint)


def _field(error: click.ClickException) -> str | None:
    if isinstance(error, NoSuchOption):
        return error.option_name
    if isinstance(error, click.BadParameter | MissingParameter) and error.param is not None:
        parameter = error.param
        return parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.human_readable_name
    return None


def _unexpected(error: Exception) -> Failure:
    # A database error prints its parameters: only what the driver said is shown.
    said = str(getattr(error, "orig", error)).strip().split("\n")[0]
    return Failure(
        message=f"unexpected {type(error).__name__}: {said}",
        exit_code=1,
        code="unexpected",
        hint="this is a fault of iacq; `python -X dev -m iacq.cli …` shows where it happened",
    )
