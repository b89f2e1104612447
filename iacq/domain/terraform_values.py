"""Output values as terraform prints them after an apply.

Follows terraform's internal/repl/format.go. A value comes with its type: JSON alone cannot tell a set from a
list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from iacq.domain.terraform_diagnostics import BOLD, GREEN, RESET

_DEEPEST = 60
"""Levels that are written out; deeper ones as JSON."""


def outputs(values: Mapping[str, Any]) -> str | None:
    """Return the `Outputs:` section without sensitive values; None while there are none, as in a plan."""
    known = {name: output for name, output in values.items() if _is_known(output)}
    if not known:
        return None
    lines = [f"\n{BOLD}{GREEN}Outputs:{RESET}\n"]
    for name in sorted(known):
        output = known[name]
        shown = "<sensitive>" if output.get("sensitive") else format_value(output["value"], output.get("type"))
        lines.append(f"{name} = {shown}")
    return "\n".join(lines)


def _is_known(output: Any) -> bool:
    """Tell whether an apply reported this output; a plan tells its `action` only."""
    return isinstance(output, Mapping) and "action" not in output and ("value" in output or "sensitive" in output)


def format_value(value: Any, kind: Any, indent: int = 0) -> str:
    """Write a value in terraform's language. `kind` is its type as terraform's JSON has it."""
    container, inner = kind if isinstance(kind, list) and len(kind) == 2 else (kind, None)
    if value is None:
        return f"to{kind}(null)" if kind in ("string", "number", "bool") else "null"
    if indent > 2 * _DEEPEST:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        types = inner if isinstance(inner, Mapping) else dict.fromkeys(value, inner)
        lines = (f"{_quoted(key)} = {format_value(value[key], types.get(key), indent + 2)}" for key in sorted(value))
        return _wrapped(container, _bracketed("{", lines, "}", indent, end=""))
    if isinstance(value, list):
        kinds = inner if container == "tuple" and isinstance(inner, list) else [inner] * len(value)
        lines = (format_value(entry, kind, indent + 2) for entry, kind in zip(value, kinds, strict=False))
        return _wrapped(container, _bracketed("[", lines, "]", indent, end=","))
    if isinstance(value, str):
        return _text(value, indent)
    return json.dumps(value)


def _bracketed(opening: str, lines: Iterable[str], closing: str, indent: int, *, end: str) -> str:
    inner = "".join(f"\n{' ' * (indent + 2)}{line}{end}" for line in lines)
    return f"{opening}{inner}\n{' ' * indent}{closing}" if inner else f"{opening}{closing}"


def _wrapped(container: Any, text: str) -> str:
    return f"to{container}({text})" if container in ("list", "set", "map") else text


def _text(value: str, indent: int) -> str:
    lines = value.split("\n")
    if len(lines) < 2:
        return _quoted(value)
    marker = "EOT"
    while any(line.strip() == marker for line in lines):
        marker += "_"
    space = " " * indent
    body = "\n".join(space + line for line in lines)
    return f"{'<<-' if indent else '<<'}{marker}\n{body}\n{space}{marker}"


def _quoted(text: Any) -> str:
    return json.dumps(str(text), ensure_ascii=False)
