"""Terraform's `-json` lines: read them, show them as terraform would, and fold them into progress.

The format is documented as "Machine-Readable UI". Some start-up errors are plain text, and older programs
print nothing else: what is not an event is text.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from iacq.domain import masking, terraform_diagnostics, terraform_values
from iacq.domain.masking import Masking
from iacq.domain.run import Changes
from iacq.domain.terraform_diagnostics import BOLD, GREEN, RED, RESET

MAX_TEXT = 64 * 1024
"""Characters of one event that are shown; the rest is counted."""
MAX_JSON = 16 * 2**20
"""Bytes of a line that is read as JSON; a longer one is text."""
MAX_DIAGNOSTICS = 100
"""Diagnostics of one severity that `Progress` keeps."""
MAX_TEXT_EVENTS = 60
"""Lines of plain text that `Progress` keeps."""

PLAIN = "plain"

_COLOURS = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")

_NOT_SHOWN = frozenset({
    "version",
    "planned_change",  # the diff that `terraform show` prints says it better
    "resource_drift",
    "refresh_complete",  # from here on: terraform prints no such line either
    "provision_complete",
    "provision_errored",
    "init_output:output_init_success_cli_message",  # "Try running terraform plan"
})  # fmt: skip

_NO_CHANGE = frozenset({"read", "noop", "open", "renew", "close"})
"""Actions that change nothing: data sources, moves, ephemeral resources."""

_BOLD_KINDS = frozenset({
    "apply_start", "apply_progress", "apply_complete",
    "provision_start", "refresh_start",
    "ephemeral_op_start", "ephemeral_op_progress", "ephemeral_op_complete",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of terraform's output."""

    kind: str  # terraform's `type`; PLAIN for text
    level: str  # trace, debug, info, warn, error
    message: str  # in words, without colours where terraform wrote JSON
    data: Mapping[str, Any]  # the whole object; empty for text


@dataclass(frozen=True, kw_only=True)
class Resource:
    """How far one resource is."""

    address: str
    action: str  # create, update, delete, replace, …; the present one while it runs
    status: str  # planned, running, done, failed
    elapsed: float | None = None  # seconds, as terraform last said


@dataclass(frozen=True, kw_only=True)
class Completed:
    """Terraform reported the end of one action: evidence of what an interrupted apply did."""

    address: str
    action: str
    id: str | None  # of the real object; None if the resource has none


@dataclass(kw_only=True)
class Progress:
    """What the events of one command add up to."""

    resources: dict[str, Resource] = field(default_factory=dict)
    completed: list[Completed] = field(default_factory=list)
    planned: Changes | None = None  # None: terraform has not said
    applied: Changes | None = None
    diagnostics: list[Event] = field(default_factory=list)  # the first ones of each severity
    outputs: dict[str, Any] = field(default_factory=dict)  # of an apply; without the values of sensitive ones
    text: deque[Event] = field(default_factory=lambda: deque(maxlen=MAX_TEXT_EVENTS))  # the last ones

    def update(self, event: Event) -> None:
        """Take one more event into account."""
        if event.kind == PLAIN:
            self.text.append(event)
        elif event.kind == "diagnostic":
            if sum(kept.level == event.level for kept in self.diagnostics) < MAX_DIAGNOSTICS:
                self.diagnostics.append(event)
        elif event.kind == "change_summary":
            self._summarize(_mapping(event.data.get("changes")))
        elif event.kind == "outputs":
            self.outputs = dict(_mapping(event.data.get("outputs")))
        elif event.kind == "planned_change":
            self._set(_mapping(event.data.get("change")), "planned")
        elif event.kind in ("apply_start", "apply_progress"):
            self._set(_mapping(event.data.get("hook")), "running")
        elif event.kind == "apply_errored":
            self._set(_mapping(event.data.get("hook")), "failed")
        elif event.kind == "apply_complete":
            self._complete(_mapping(event.data.get("hook")))

    def error(self) -> str:
        """Return `first_error` of what was seen."""
        return first_error((*self.diagnostics, *self.text))

    def counts(self) -> dict[str, int]:
        """Count resources by status: planned (not begun), running, done, failed."""
        counts = dict.fromkeys(("planned", "running", "done", "failed"), 0)
        for resource in self.resources.values():
            counts[resource.status] += 1
        return counts

    def _set(self, said: Mapping[str, Any], status: str) -> None:
        address = _mapping(said.get("resource")).get("addr")
        action = said.get("action")
        if not isinstance(address, str) or action in _NO_CHANGE:
            return
        elapsed = said.get("elapsed_seconds")
        self.resources[address] = Resource(
            address=address,
            action=str(action),
            status=status,
            elapsed=elapsed if isinstance(elapsed, int | float) else None,
        )

    def _complete(self, hook: Mapping[str, Any]) -> None:
        self._set(hook, "done")
        address = _mapping(hook.get("resource")).get("addr")
        if isinstance(address, str) and hook.get("action") not in _NO_CHANGE:
            identity = hook.get("id_value")
            self.completed.append(
                Completed(
                    address=address,
                    action=str(hook.get("action")),
                    id=identity if isinstance(identity, str) else None,
                )
            )

    def _summarize(self, changes: Mapping[str, Any]) -> None:
        counts = [changes.get(key) for key in ("add", "change", "remove")]
        add, change, destroy = (count if isinstance(count, int) else 0 for count in counts)
        summary = Changes(add=add, change=change, destroy=destroy)
        if changes.get("operation") == "plan":
            self.planned = summary
        else:
            self.applied = summary


def parse(line: bytes | str, hide: Masking = masking.NOTHING) -> Event:
    """Read one line, with or without its end. Never raises: what is not an event is text, cut at MAX_TEXT.

    hide: what must not be shown. Outputs are kept as they are: they are data for whoever asks for them.
    """
    size = len(line)
    raw = line if size <= MAX_JSON else line[: MAX_TEXT * 8]
    text = (raw.decode(errors="replace") if isinstance(raw, bytes) else raw).rstrip("\r\n")
    if size <= MAX_JSON and text.startswith("{"):
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict) and isinstance(data.get("@message"), str):
            kind = str(data.get("type") or "log")
            return Event(
                kind=kind,
                level=str(data.get("@level") or "info"),
                message=hide.text(data["@message"]),
                data=MappingProxyType(hide.value(data) if hide and kind != "outputs" else data),
            )
    # Before it is shortened: half a secret is not found.
    masked = hide.text(text) if len(raw) == size else hide.beginning(text)
    message = _shortened(_clean(masked), unread=size - len(raw))
    return Event(kind=PLAIN, level="info", message=message, data=MappingProxyType({}))


def render(event: Event) -> str | None:
    """Show an event in terraform's words, with ANSI colours and no final newline; None: nothing to show."""
    if event.kind == PLAIN:
        return event.message
    text = _rendered(event)
    return None if text is None else _shortened(_clean(text))


def strip_colours(text: str) -> str:
    """Remove ANSI escape sequences."""
    return _COLOURS.sub("", text)


def first_error(events: Iterable[Event]) -> str:
    """Return the first error among events, once and without colours; "" if there is none.

    Where terraform wrote text instead of events, its first box or its first `Error:` line counts.
    """
    plain: list[str] = []
    for event in events:
        if event.kind == PLAIN:
            plain.append(strip_colours(event.message))
        elif event.kind == "diagnostic":
            diagnostic = _mapping(event.data.get("diagnostic"))
            if diagnostic.get("severity") == "error":
                return _shortened(_clean(terraform_diagnostics.plain_text(diagnostic)))
    return _shortened(terraform_diagnostics.error_in_text(plain))


def _rendered(event: Event) -> str | None:
    code = event.data.get("message_code")
    if event.kind in _NOT_SHOWN or f"{event.kind}:{code}" in _NOT_SHOWN or event.level in ("trace", "debug"):
        return None
    if event.kind == "diagnostic":
        return _diagnostic(_mapping(event.data.get("diagnostic")))
    if event.kind == "change_summary":
        return _summary(event)
    if event.kind == "outputs":
        return terraform_values.outputs(_mapping(event.data.get("outputs")))
    if event.kind == "provision_progress":
        hook = _mapping(event.data.get("hook"))
        address = _mapping(hook.get("resource")).get("addr")
        return f"{BOLD}{address} ({hook.get('provisioner')}):{RESET} {hook.get('output')}"
    if event.kind == "apply_errored":
        return f"{BOLD}{RED}{event.message}{RESET}"
    if event.kind in _BOLD_KINDS or str(code).startswith("initializing_"):
        return f"{BOLD}{event.message}{RESET}"
    if code == "output_init_success_message":
        return f"\n{BOLD}{GREEN}{event.message}{RESET}"
    return event.message


def _summary(event: Event) -> str:
    if _mapping(event.data.get("changes")).get("operation") == "plan":
        head, colon, rest = event.message.partition(":")
        return f"\n{BOLD}{head}{colon}{RESET}{rest}"
    return f"\n{BOLD}{GREEN}{event.message}{RESET}"


def _diagnostic(diagnostic: Mapping[str, Any]) -> str | None:
    if diagnostic.get("summary") == "Incomplete lock file information for providers":
        return None  # every link from iacq's own mirror causes it, and the reader can do nothing about it
    return terraform_diagnostics.box(diagnostic)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _clean(text: str) -> str:
    """Replace what no database takes as text: NUL, and lone surrogates, which JSON can hold."""
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _shortened(text: str, *, unread: int = 0) -> str:
    more = max(0, len(text) - MAX_TEXT) + unread
    return text if not more else f"{text[:MAX_TEXT]} … ({more} more characters are not shown)"
