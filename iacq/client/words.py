"""Read what callers give as words."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from iacq.errors import InvalidInput

_Word = TypeVar("_Word", bound=enum.StrEnum)


def words(kind: type[_Word], given: Iterable[_Word | str], field: str) -> set[_Word]:
    """Read states or phases. Raises InvalidInput that names the one that is none."""
    if isinstance(given, str):
        given = [given]
    try:
        return {kind(value) for value in given}
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{field}: {error}", field=field, hint=f"one of {', '.join(kind)}") from None


def names_of(files: Sequence[str | Path]) -> object:
    """Return paths as texts; what is no list of paths is left for the check of the request."""
    if isinstance(files, str | bytes) or not isinstance(files, Sequence):
        return files
    return [str(file) if isinstance(file, Path) else file for file in files]
