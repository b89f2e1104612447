"""Checks of values that came from outside as they are: JSON of another service, arguments of a Python caller."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from iacq.errors import InvalidInput

_LONGEST = 10_000


def text(value: object, field: str, *, longest: int = _LONGEST) -> str:
    """Return a text that databases take. Raises InvalidInput: it is none, too long, or no Unicode."""
    if not isinstance(value, str):
        raise _wrong(field, "text", value)
    if len(value) > longest:
        raise InvalidInput(f"{field} has {len(value)} characters, more than {longest}", field=field)
    if "\0" in value or not _is_unicode(value):
        raise InvalidInput(f"{field} holds characters that no text has (NUL, or half of a pair)", field=field)
    return value


def optional_text(value: object, field: str, *, longest: int = _LONGEST) -> str | None:
    """Return a text or None."""
    return None if value is None else text(value, field, longest=longest)


def whole(value: object, field: str) -> int:
    """Return a whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(field, "a whole number", value)
    return value


def flag(value: object, field: str) -> bool:
    """Return true or false; nothing else counts as one of them."""
    if not isinstance(value, bool):
        raise _wrong(field, "true or false", value)
    return value


def texts(value: object, field: str) -> tuple[str, ...]:
    """Return a list of texts. A single text is refused: it would be taken for a list of letters."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise _wrong(field, "a list of texts", value)
    return tuple(text(item, field) for item in value)


def mapping(value: object, field: str) -> Mapping[str, Any]:
    """Return an object whose keys are texts."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _wrong(field, "an object", value)
    return value


def is_json(value: object) -> bool:
    """Tell whether this can be written as JSON that everybody can read: no NaN, no endless nesting."""
    try:
        return _is_unicode(json.dumps(value, allow_nan=False, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return False


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong(field: str, wanted: str, value: object) -> InvalidInput:
    return InvalidInput(f"{field} is {wanted}, not {_kind(value)}", field=field)


def _kind(value: object) -> str:
    """Name what a value is; never the value, which may be secret."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case Mapping():
            return "an object"
        case Sequence():
            return "a list"
    return type(value).__name__
