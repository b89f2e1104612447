"""Hide values that are known to be secret in what people read: logs, events, errors, diffs.

A value is found as it is, as JSON, HCL and a shell write it, line by line, and by the texts inside of it if it is
JSON or HCL itself. What a program made of it (base64, a hash, a half) is not found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MASK = "***"
SHORTEST = 4
"""Characters: anything shorter would be found everywhere."""

_HTML = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}  # as Go's JSON has them
_HCL_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*[=:])?')  # with a sign behind it: the name of an attribute
_LOOKS_STRUCTURED = ("{", "[", '"')


class Masking:
    """Knows the secrets of one phase. Made once, then only read."""

    def __init__(self, secrets: Iterable[str] = (), *, everything: bool = False) -> None:
        """secrets: values in clear. everything: they are not known, so nothing may be shown."""
        self._everything = everything
        self._needles = sorted({form for value in secrets for form in _forms(value)})
        self._by_start: dict[str, list[str]] = {}
        for needle in self._needles:
            self._by_start.setdefault(needle[:SHORTEST], []).append(needle)
        self._longest = max(map(len, self._needles), default=0)

    def __bool__(self) -> bool:
        """Tell whether there is anything to hide."""
        return self._everything or bool(self._needles)

    def text(self, text: str) -> str:
        """Return `text` with `***` for each secret in it; secrets that overlap are hidden as one."""
        if self._everything:
            return MASK if text.strip() else text
        shown: list[str] = []
        end = 0
        for start, stop in _merged(self._found(text)):
            shown += [text[end:start], MASK]
            end = stop
        return "".join([*shown, text[end:]]) if end else text

    def beginning(self, text: str) -> str:
        """Mask a text that was cut off somewhere: without its end, where half a secret may stand."""
        masked = self.text(text)
        return masked[: -self._longest] if self._longest else masked

    def value(self, value: Any) -> Any:
        """Return a JSON value with every text in it masked; names of attributes stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {name: self.value(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        for needle in self._candidates(text):
            at = text.find(needle)
            while at >= 0:
                yield at, at + len(needle)
                at = text.find(needle, at + len(needle))

    def _candidates(self, text: str) -> list[str]:
        """Return what may be in `text`: with many needles and a short text, looking at its pieces is faster."""
        if len(self._needles) <= len(text):
            return self._needles
        pieces = {text[at : at + SHORTEST] for at in range(len(text) - SHORTEST + 1)}
        return [needle for piece in pieces & self._by_start.keys() for needle in self._by_start[piece]]


NOTHING = Masking()
"""Hides nothing."""

EVERYTHING = Masking(everything=True)
"""Hides all: what is secret could not be read."""


def _merged(found: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield stretches in order, those that overlap or touch as one."""
    begun: tuple[int, int] | None = None
    for start, stop in sorted(found):
        if begun is None:
            begun = start, stop
        elif start <= begun[1]:
            begun = begun[0], max(begun[1], stop)
        else:
            yield begun
            begun = start, stop
    if begun is not None:
        yield begun


def _forms(value: str) -> Iterator[str]:
    """Yield all ways in which a secret may be written that are long enough."""
    texts = {value, *_inside(value)}
    lines = {line.strip() for text in texts for line in text.splitlines()}
    for text in texts | lines:
        if len(text.strip()) >= SHORTEST:
            yield from _written(text)


def _written(text: str) -> Iterator[str]:
    yield text
    yield text.replace("'", "'\"'\"'")  # in a shell's single quotes, as variables travel to terraform
    once = json.dumps(text, ensure_ascii=False)[1:-1]
    for escaped in (
        once,
        once.translate(_HTML),
        json.dumps(text)[1:-1],
        once.replace("${", "$${").replace("%{", "%%{"),
    ):
        yield escaped
        yield json.dumps(escaped, ensure_ascii=False)[1:-1]  # JSON within JSON


def _inside(value: str) -> set[str]:
    """Return the texts within a secret that is a JSON or HCL value."""
    if not value.strip().startswith(_LOOKS_STRUCTURED):
        return set()
    try:
        return set(_texts(json.loads(value)))
    except (ValueError, RecursionError):
        return {_unescaped(found[1]) for found in _HCL_TEXT.finditer(value) if not found[2]}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text
