"""What a pool may say about its pods, checked when it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from iacq import settings
from iacq.domain import fields
from iacq.errors import InvalidInput

FIELD = "--template"
ENVIRONMENT = "environment"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF_ONE_POD = ("POD_NAME", "POOL_ID", "SLOT_ID")


def parse(text: str) -> dict[str, Any]:
    """Read a template. Raises InvalidInput: it is no JSON object, or has something that no runtime follows."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the template is no JSON: {error}", field=FIELD) from error
    return check(given)


def check(given: object) -> dict[str, Any]:
    """Return a template: `{"environment": {NAME: text}}`, for the agents. Raises InvalidInput that says what is wrong.

    Secrets of iacq are refused: a template is stored and shown in clear.
    """
    template = fields.mapping(given, FIELD)
    unknown = sorted(template.keys() - {ENVIRONMENT})
    if unknown:
        raise InvalidInput(f"a template has no field {unknown[0][:60]!a}", field=FIELD, hint=f"it has {ENVIRONMENT}")
    environment = fields.mapping(template.get(ENVIRONMENT, {}), f"{FIELD} {ENVIRONMENT}")
    return {ENVIRONMENT: {name: _value(name, environment) for name in environment}} if template else {}


def _value(name: str, environment: Mapping[str, Any]) -> str:
    shown = ascii(name[:60])
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{shown} cannot be the name of a variable", field=FIELD)
    if name in _OF_ONE_POD:
        raise InvalidInput(f"{name} is set by iacq for each pod", field=FIELD)
    if name in settings.secret_variables():
        raise InvalidInput(
            f"{name} is a secret, and a template is shown in clear",
            field=FIELD,
            hint="agents have it from the process that starts them",
        )
    return fields.text(environment[name], f"{FIELD} {name}")
