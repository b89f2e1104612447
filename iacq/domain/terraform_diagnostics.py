"""Terraform's errors and warnings as terraform prints them: a box with file, line and snippet.

Follows terraform's internal/command/format/diagnostic.go, for a terminal of 78 columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

RESET, BOLD, UNDERLINE = "\x1b[0m", "\x1b[1m", "\x1b[4m"
RED, GREEN, YELLOW, GREY = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[90m"

_WIDTH = 75  # 78 columns less the rule
_SEVERITIES = {"error": ("Error", RED), "warning": ("Warning", YELLOW)}
_MOST_TEXT_LINES = 30


def box(diagnostic: Mapping[str, Any]) -> str:
    """Return the box, with colours."""
    title, colour = _SEVERITIES.get(str(diagnostic.get("severity")), ("Note", ""))
    summary = str(diagnostic.get("summary") or "")
    content = [
        f"{BOLD}{colour}{title}: {RESET}{BOLD}{summary}{RESET}",
        "",
        *_place(diagnostic, coloured=True),
    ]
    for line in str(diagnostic.get("detail") or "").splitlines():
        content += [line] if line.startswith(" ") else _wrapped(line)
    rule = f"{colour}│{RESET}"
    lines = [f"{rule} {line}" if line else rule for line in "\n".join(content).split("\n")]
    return "\n".join([f"{colour}╷{RESET}", *lines, f"{colour}╵{RESET}"])


def plain_text(diagnostic: Mapping[str, Any]) -> str:
    """Return the same text without box, colours and line breaks of a terminal."""
    place = "\n".join(_place(diagnostic, coloured=False)).strip("\n")
    parts = [str(diagnostic.get("summary") or ""), place, str(diagnostic.get("detail") or "")]
    return "\n\n".join(part.rstrip() for part in parts if part.strip())


def error_in_text(lines: Sequence[str]) -> str:
    """Return the first error in what terraform printed as text (without colours), unboxed; "" if none."""
    found: list[str] = []
    for line in lines:
        if found and (line.startswith("╵") or len(found) == _MOST_TEXT_LINES):
            break
        content = line.removeprefix("│").removeprefix(" ").rstrip()
        if found or content.startswith("Error: "):
            found.append(content)
    return "\n".join(found).removeprefix("Error: ").strip()


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False) or [""]


def _place(diagnostic: Mapping[str, Any], *, coloured: bool) -> list[str]:
    """Say where: resource address, file, line, code; ends with an empty line unless there is nothing."""
    lines: list[str] = []
    if diagnostic.get("address"):
        lines.append(f"  with {diagnostic['address']},")
    where = diagnostic.get("range")
    snippet = diagnostic.get("snippet")
    if isinstance(where, Mapping):
        start = where.get("start")
        line = start.get("line") if isinstance(start, Mapping) else "?"
        context = snippet.get("context") if isinstance(snippet, Mapping) else None
        lines.append(f"  on {where.get('filename')} line {line}{f', in {context}' if context else ''}:")
        if isinstance(snippet, Mapping):
            lines += _code(snippet, coloured=coloured) + _values(snippet, coloured=coloured)
        else:
            lines.append("  (source code not available)")
    return [*lines, ""] if lines else []


def _code(snippet: Mapping[str, Any], *, coloured: bool) -> list[str]:
    code = str(snippet.get("code") or "")
    if coloured:
        raw = code.encode()  # terraform counts bytes
        start = _offset(snippet, "highlight_start_offset", len(raw))
        end = max(start, _offset(snippet, "highlight_end_offset", len(raw)))
        parts = (raw[:start], raw[start:end], raw[end:])
        before, marked, after = (part.decode(errors="replace") for part in parts)
        code = f"{before}{UNDERLINE}{marked}{RESET}{after}"
    first = snippet.get("start_line")
    first = first if isinstance(first, int) else 1
    return [f"{number:4d}: {line}" for number, line in enumerate(code.split("\n"), first)]


def _values(snippet: Mapping[str, Any], *, coloured: bool) -> list[str]:
    values = [value for value in snippet.get("values") or () if isinstance(value, Mapping)]
    call = snippet.get("function_call")
    signature = _signature(call) if isinstance(call, Mapping) else None
    if not values and signature is None:
        return []
    grey, bold, reset = (GREY, BOLD, RESET) if coloured else ("", "", "")
    lines = [f"    {grey}├────────────────{reset}"]
    if signature is not None:
        name, parameters = signature
        lines.append(f"    {grey}│{reset} while calling {bold}{name}{reset}({parameters})")
    lines += [
        f"    {grey}│{reset} {bold}{value.get('traversal')}{reset} {value.get('statement')}"
        for value in sorted(values, key=lambda value: str(value.get("traversal")))
    ]
    return lines


def _signature(call: Mapping[str, Any]) -> tuple[str, str] | None:
    signature = call.get("signature")
    if not isinstance(signature, Mapping):
        return None
    names = [str(entry.get("name")) for entry in signature.get("params") or () if isinstance(entry, Mapping)]
    rest = signature.get("variadic_param")
    if isinstance(rest, Mapping):
        names.append(f"{rest.get('name')}...")
    return str(call.get("called_as")), ", ".join(names)


def _offset(snippet: Mapping[str, Any], name: str, end: int) -> int:
    value = snippet.get(name)
    return min(max(value, 0), end) if isinstance(value, int) else 0
