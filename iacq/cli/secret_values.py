"""Values of secrets: never from the command line itself, where others could read them."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from iacq.errors import InvalidInput

VARIABLES = "--secret-var"
ENVIRONMENT = "--secret-env"


def read(given: Mapping[str, Sequence[str]], *, may_ask: Callable[[], bool]) -> dict[str, dict[str, str]]:
    """Read each `NAME[=WHERE]`; given: by option. One newline at the end of a file or the input is not part of a value.

    Raises InvalidInput that names the option, never the value.
    """
    from_input = [option for option, texts in given.items() for text in texts if text.endswith("=-")]
    if len(from_input) > 1:
        raise _refused("standard input can give one value only", from_input[-1])
    return {option: dict(_named(option, text, may_ask) for text in texts) for option, texts in given.items()}


def _named(option: str, text: str, may_ask: Callable[[], bool]) -> tuple[str, str]:
    name, equals, where = text.partition("=")
    return name, _value(option, name, where if equals else None, may_ask)


def _refused(message: str, option: str) -> InvalidInput:
    hint = f"write {option} NAME (asks), NAME=@FILE, NAME=env:VARIABLE, or NAME=- (standard input)"
    return InvalidInput(message, field=option, hint=hint)


def _value(option: str, name: str, where: str | None, may_ask: Callable[[], bool]) -> str:
    if where is None:
        if not may_ask():
            raise _refused(f"nobody can be asked here for the value of {name!a}", option)
        return getpass.getpass(f"Value of {name}: ")
    if where == "-":
        return sys.stdin.read().removesuffix("\n")
    if where.startswith("@"):
        return _from_file(option, name, where[1:])
    if where.startswith("env:"):
        return _from_environment(option, name, where.removeprefix("env:"))
    raise _refused(f"the value of {name!a} would be visible to every user of this machine", option)


def _from_file(option: str, name: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"the file of {name!a}, {path}, cannot be read: {reason}", field=option) from error


def _from_environment(option: str, name: str, variable: str) -> str:
    value = os.environ.get(variable)  # the variable that the user named: no setting of iacq
    if value is None:
        raise _refused(f"the variable of {name!a}, {variable}, is not set", option)
    return value
