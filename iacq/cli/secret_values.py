"""Values of secret variables: never from the command line itself, where others could read them."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from iacq.errors import InvalidInput

_FIELD = "--secret-var"
_HINT = f"write {_FIELD} NAME (asks), NAME=@FILE, NAME=env:VARIABLE, or NAME=- (standard input)"


def read(options: Sequence[str], *, may_ask: Callable[[], bool]) -> dict[str, str]:
    """Read each `NAME[=WHERE]`. One newline at the end of a file or of the input is not part of the value.

    Raises InvalidInput that names the option, never the value.
    """
    if sum(option.endswith("=-") for option in options) > 1:
        raise InvalidInput("standard input can give one value only", field=_FIELD, hint=_HINT)
    found = {}
    for option in options:
        name, equals, where = option.partition("=")
        found[name] = _value(name, where if equals else None, may_ask)
    return found


def _value(name: str, where: str | None, may_ask: Callable[[], bool]) -> str:
    if where is None:
        if not may_ask():
            raise InvalidInput(f"nobody can be asked here for the value of {name!a}", field=_FIELD, hint=_HINT)
        return getpass.getpass(f"Value of {name}: ")
    if where == "-":
        return sys.stdin.read().removesuffix("\n")
    if where.startswith("@"):
        return _from_file(name, where[1:])
    if where.startswith("env:"):
        return _from_environment(name, where.removeprefix("env:"))
    raise InvalidInput(
        f"the value of {name!a} would be visible to every user of this machine", field=_FIELD, hint=_HINT
    )


def _from_file(name: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"the file of {name!a}, {path}, cannot be read: {reason}", field=_FIELD) from error


def _from_environment(name: str, variable: str) -> str:
    value = os.environ.get(variable)  # the variable that the user named: no setting of iacq
    if value is None:
        raise InvalidInput(f"the variable of {name!a}, {variable}, is not set", field=_FIELD, hint=_HINT)
    return value
