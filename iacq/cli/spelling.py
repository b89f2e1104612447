"""terraform's spelling of options: one dash before a long name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_VALUED = ("var", "var-file", "target", "replace", "parallelism")
_SWITCHES = ("auto-approve", "detailed-exitcode", "json", "refresh-only")
_SINGLE = re.compile(rf"-({'|'.join((*_VALUED, *_SWITCHES, 'refresh'))})(=.*)?", re.DOTALL)
_SWITCH = re.compile(rf"--({'|'.join(_SWITCHES)})=(true|false)", re.IGNORECASE)


def normalise(words: Iterable[str]) -> list[str]:
    """Rewrite `-var x=1` to `--var x=1`, `-refresh` to `--refresh=true`, `-auto-approve=false` to `--no-auto-approve`.

    A switch that is off anyway, as `-json=false`, is left out.

    What follows `--` stays as it is.
    """
    result: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*result, word, *rest]
        result.extend(_rewritten(f"-{word}" if _SINGLE.fullmatch(word) else word))
    return result


def _rewritten(word: str) -> list[str]:
    if word == "--refresh":
        return ["--refresh=true"]
    switch = _SWITCH.fullmatch(word)
    if switch is None:
        return [word]
    if switch[2].lower() == "true":
        return [f"--{switch[1]}"]
    return ["--no-auto-approve"] if switch[1].lower() == "auto-approve" else []


def wants_json(words: Sequence[str]) -> bool:
    """Tell whether errors go out as JSON too, before click has parsed anything."""
    return "--json" in _options(words)


def wants_one_code(words: Sequence[str]) -> bool:
    """Tell whether every error ends with 1: with --detailed-exitcode, as terraform has it, 2 means changes."""
    return "--detailed-exitcode" in _options(words)


def _options(words: Sequence[str]) -> Sequence[str]:
    return words[: words.index("--")] if "--" in words else words
