"""What a worker accepts from a queue: the few fields that iacq knows, of the tasks that it does, nothing else.

Whoever can write to the broker can write anything. Celery hands a message on with all its headers (callbacks, chords,
times, another serializer), logs the body of one that it cannot read, and ends at one that is no message at all, which
then waits for its successor. So each one is checked first, and made anew from what was checked.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
from collections.abc import Container, Mapping
from typing import Any

import kombu.utils.json

from iacq import messages
from iacq.adapters.messaging.refusals import Reason
from iacq.domain import versions

kombu_json: Any = kombu.utils.json  # has no types

MAX_BODY = 1_500_000
"""Longest body in bytes of base64: 1.1 MB of arguments."""

_TEXTS = ("lang", "root_id", "parent_id", "origin")
"""Headers that are only shown."""
_LONGEST_TEXT = 1000


class Refused(Exception):  # noqa: N818 - it says what happened to the message
    """The message is not for iacq."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(str(reason))


def admit(envelope: Any, queue: str, tasks: Container[str]) -> dict[str, Any]:
    """Return the message as iacq understands it. Raises Refused.

    envelope: what lay in the queue, decoded once; tasks: those that this worker knows.
    """
    _require(isinstance(envelope, dict), Reason.ENVELOPE)
    headers, properties, body = envelope.get("headers"), envelope.get("properties"), envelope.get("body")
    _require(isinstance(headers, dict) and isinstance(properties, dict) and isinstance(body, str), Reason.ENVELOPE)
    _require(len(body) <= MAX_BODY, Reason.TOO_LARGE)
    _require(envelope.get("content-type") == "application/json", Reason.CONTENT_TYPE)
    _require(headers.get("compression") is None, Reason.CONTENT_TYPE)
    _require(headers.get("eta") is None, Reason.SCHEDULED)
    task, task_id = headers.get("task"), headers.get("id")
    _require(_is_printable(task_id) and 1 <= len(task_id) <= 100, Reason.ENVELOPE)
    _require_understood(messages.needed_protocol(headers))
    _require(isinstance(task, str) and task.startswith("iacq.") and task in tasks, Reason.TASK)
    args, kwargs = _read_body(body, properties.get("body_encoding"))
    _require(task in messages.CALLS or messages.takes(task, args, kwargs), Reason.ARGUMENTS)
    return _rebuild(task, headers, [args, kwargs], queue)


def is_envelope(data: bytes | str) -> bool:
    """Tell whether this is JSON of the shape that a message has. Enough for remote control, which Celery checks."""
    try:
        found = kombu_json.loads(data)
    except Exception:  # noqa: BLE001 - as in _read_body
        return False
    return isinstance(found, dict) and isinstance(found.get("properties"), dict)


def _rebuild(task: str, headers: Mapping[str, Any], arguments: list[Any], queue: str) -> dict[str, Any]:
    """Write the message anew: without callbacks, chords and limits, with a delivery tag of our own."""
    call = task in messages.CALLS
    shown = {name: headers[name][:_LONGEST_TEXT] for name in _TEXTS if _is_printable(headers.get(name))}
    shown["kwargsrepr"] = messages.presentable(headers.get("kwargsrepr"))  # of a call: variables, which may be secret
    body = [*arguments, {}]
    encoded = kombu_json.dumps(body) if call else json.dumps(body)  # a bell has numbers and words only
    return {
        "body": base64.b64encode(encoded.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            **shown,
            "task": task,
            "id": headers["id"],
            "expires": _expiry(headers.get("expires")),
            "ignore_result": not call or bool(headers.get("ignore_result")),
        },
        "properties": {
            "body_encoding": "base64",
            "correlation_id": headers["id"],
            "delivery_info": {"exchange": "", "routing_key": queue},
            "delivery_tag": str(uuid.uuid4()),
            "priority": 0,
        },
    }


def _is_printable(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _require(holds: bool, reason: Reason) -> None:
    if not holds:
        raise Refused(reason)


def _require_understood(needs: Any) -> None:
    if needs is not None:
        _require(type(needs) is int and needs >= 1, Reason.ENVELOPE)
        _require(needs <= versions.PROTOCOL, Reason.NEWER_VERSION)


def _read_body(body: str, encoding: Any) -> tuple[list[Any], dict[str, Any]]:
    _require(encoding in (None, "base64"), Reason.CONTENT_TYPE)
    try:
        text = base64.b64decode(body, validate=True).decode() if encoding else body
        # As Celery decodes it: with dates and other values that JSON has no words for. But NaN is none.
        found = json.loads(text, object_hook=kombu_json.object_hook, parse_constant=_refuse)
    except Exception as error:  # what a decoder may raise has no end: RecursionError, decimal.InvalidOperation, ...
        raise Refused(Reason.NOT_JSON) from error
    _require(isinstance(found, list) and len(found) == 3, Reason.ENVELOPE)
    args, kwargs, _ = found
    _require(isinstance(args, list) and isinstance(kwargs, dict), Reason.ENVELOPE)
    return args, kwargs


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _expiry(expires: Any) -> str | None:
    if expires is None:
        return None
    try:
        return dt.datetime.fromisoformat(expires).isoformat()
    except (TypeError, ValueError) as error:
        raise Refused(Reason.ENVELOPE) from error
