"""Printing: results to stdout, everything else to stderr; colours only where a terminal shows them."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

_BOLD, _RED, _YELLOW, _RESET = "\033[1m", "\033[31m", "\033[33m", "\033[0m"


def line(text: str = "") -> None:
    """Print a line of the result."""
    _write(sys.stdout, text)


def note(text: str = "") -> None:
    """Tell the reader something that is not part of the result."""
    _write(sys.stderr, text)


def warn(text: str) -> None:
    """Warn on stderr."""
    _write(sys.stderr, f"{_BOLD}{_YELLOW}Warning:{_RESET} {text}")


def error_head(text: str) -> str:
    """Make the first line of an error block."""
    return f"{_BOLD}{_RED}Error:{_RESET} {text}"


def emit(value: Any) -> None:
    """Print one JSON document: indented on a terminal, on one line elsewhere."""
    indent = 2 if sys.stdout.isatty() else None
    _write(sys.stdout, json.dumps(value, indent=indent, ensure_ascii=False), raw=True)


def stream(value: Any) -> None:
    """Print one line of NDJSON."""
    _write(sys.stdout, json.dumps(value, ensure_ascii=False), raw=True)


def _write(to: TextIO, text: str, *, raw: bool = False) -> None:
    shown = text if raw or to.isatty() else _plain(text)
    # What the stream cannot encode (a C locale, lone surrogates) is replaced, never an error.
    encoding = to.encoding or "utf-8"
    to.write(shown.encode(encoding, errors="replace").decode(encoding) + "\n")
    to.flush()


def _plain(text: str) -> str:
    # Imported where it is used: `iacq --help` prints nothing of ours.
    from iacq.domain.terraform_events import strip_colours

    return strip_colours(text)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lay out columns under their headers; None is `-`. What is not printable is shown as `?`."""
    cells = [list(headers), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print a table, or the sentence `empty` on stderr if it has no rows."""
    if not rows:
        note(empty)
        return
    for text in table(headers, rows):
        line(text)


def printable(text: str) -> str:
    """Replace control characters of what somebody else wrote."""
    return "".join(character if character.isprintable() else "?" for character in text)


def printable_lines(text: str) -> str:
    """Like `printable`, but lines stay lines."""
    return "\n".join(map(printable, text.splitlines()))


def _cell(value: object) -> str:
    return "-" if value is None else printable(str(value))


def age(then_ms: int | None, now_ms: int) -> str | None:
    """Say how long ago something was: `5s`, `3m`, `2h`, `4d`."""
    if then_ms is None:
        return None
    seconds = max(0, now_ms - then_ms) // 1000
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def duration(ms: float) -> str:
    """Say how long something takes: `12 ms`, `1.2 s`, `3m`, `2h`, `4d`."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.1f} s" if ms < 120_000 else str(age(0, int(ms)))


def moment(ms: int | None) -> str | None:
    """Write a time for people: local, with its zone."""
    if ms is None:
        return None
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
