"""What the stored log of an apply says about each resource: it survives the pod in which terraform ran.

The lines are terraform's own sentences (internal/command/views/json/hook.go), as `terraform_events` shows its events.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from iacq.domain.terraform_events import strip_colours

_KEY = r'(?:\[(?:\d+|"(?:[^"\\]|\\.)*")\])?'
_ADDRESS = rf"(?P<address>(?:[\w-]+{_KEY}\.)*[\w-]+\.[\w-]+{_KEY})"
_DEPOSED = r"(?: \(deposed object \w+\))?"
_BEGAN = re.compile(rf"{_ADDRESS}{_DEPOSED}: (?P<verb>Creating|Modifying|Destroying|Replacing)\.\.\.(?: \[.*\])?")
_ENDED = re.compile(
    rf"{_ADDRESS}{_DEPOSED}: (?P<noun>Creation|Modifications|Destruction|Replacement)"
    r" (?P<how>complete|errored) after [^\[]*?(?: \[id=(?P<id>.*)\])?"
)
_ACTIONS = {
    "Creating": "create", "Modifying": "update", "Destroying": "delete", "Replacing": "replace",
    "Creation": "create", "Modifications": "update", "Destruction": "delete", "Replacement": "replace",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The last that terraform said about one resource."""

    address: str
    action: str  # create, update, delete, replace
    status: str  # running: it began and no end was reported; done, failed
    id: str | None = None  # of the real object, where terraform named it


def read(lines: Iterable[str]) -> tuple[Seen, ...]:
    """Return what was said about each resource, in the order in which they began."""
    found: dict[str, Seen] = {}
    for line in lines:
        seen = _read(strip_colours(line).rstrip())
        if seen is not None:
            found[seen.address] = seen
    return tuple(found.values())


def _read(line: str) -> Seen | None:
    began = _BEGAN.fullmatch(line)
    if began:
        return Seen(address=began["address"], action=_ACTIONS[began["verb"]], status="running")
    ended = _ENDED.fullmatch(line)
    if not ended:
        return None
    status = "done" if ended["how"] == "complete" else "failed"
    return Seen(address=ended["address"], action=_ACTIONS[ended["noun"]], status=status, id=ended["id"])
