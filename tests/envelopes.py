"""Messages as Celery writes them to Redis, and as somebody else might."""

import base64
import json
import pickle
from typing import Any

JSON = "application/json"


def envelope(task: str, kwargs: Any = None, *, args: Any = (), **changes: Any) -> dict[str, Any]:
    """Build a message; `changes` replace parts of it: `headers` and `properties` are merged."""
    body = [list(args) if isinstance(args, tuple) else args, {} if kwargs is None else kwargs, {"callbacks": None}]
    return {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": JSON,
        **{name: value for name, value in changes.items() if name not in ("headers", "properties")},
        "headers": {"task": task, "id": "0-0-0", "lang": "py", **changes.get("headers", {})},
        "properties": {
            "body_encoding": "base64",
            "correlation_id": "0-0-0",
            "delivery_info": {"exchange": "", "routing_key": "anywhere"},
            "delivery_tag": "1-1-1",
            "priority": 0,
            **changes.get("properties", {}),
        },
    }


def encode(body: bytes) -> str:
    return base64.b64encode(body).decode()


class Harm:
    """Whoever unpickles this runs it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("unpickled",))


NO_MESSAGES: list[bytes] = [
    b"",
    b"\xff\xfe\x00",
    b"not json",
    b'{"body": ',
    b"[" * 100_000,
    b"null",
    b"42",
    b'"text"',
    b"[1, 2, 3]",
    b"{}",
    b'{"body": "", "headers": {}, "properties": {}}',
    b'{"body": [], "headers": {"task": "iacq.dispatch", "id": "1"}, "properties": {}}',
    b'{"__type__": "decimal", "__value__": "x"}',
    b'{"__type__": {}, "__value__": 1}',
]
"""What is no message of Celery at all."""


def wrong(task: str, kwargs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Messages about a task that exists, each with one thing wrong, by the reason of refusal."""
    return {
        "headers are a list": {**envelope(task, kwargs), "headers": []},
        "no headers": {**envelope(task, kwargs), "headers": None},
        "properties are a text": {**envelope(task, kwargs), "properties": "x"},
        "no id": envelope(task, kwargs, headers={"id": None}),
        "id is an object": envelope(task, kwargs, headers={"id": {"a": 1}}),
        "id with a line feed": envelope(task, kwargs, headers={"id": "a\nb"}),
        "task is a list": envelope(task, kwargs, headers={"task": ["iacq.plan"]}),
        "pickle": envelope(
            task, body=encode(pickle.dumps(Harm())), **{"content-type": "application/x-python-serialize"}
        ),
        "pickle that says it is JSON": envelope(task, body=encode(pickle.dumps(Harm()))),
        "yaml": envelope(task, kwargs, **{"content-type": "application/x-yaml"}),
        "no content type": envelope(task, kwargs, **{"content-type": None}),
        "compressed": envelope(task, kwargs, headers={"compression": "application/x-gzip"}),
        "body is no base64": envelope(task, body="%%%"),
        "body encoding unknown": envelope(task, kwargs, properties={"body_encoding": "rot13"}),
        "body is no JSON": envelope(task, body=encode(b"{")),
        "body is deep": envelope(task, body=encode(b"[" * 100_000)),
        "body is an object": envelope(task, body=encode(b'{"args": [], "kwargs": {}}')),
        "body has two parts": envelope(task, body=encode(b"[[], {}]")),
        "args are a text": envelope(task, kwargs, args="abc"),
        "kwargs are a list": envelope(task, [1]),
        "not a number": envelope(task, body=encode(b'[[], {"run_id": NaN}, {}]')),
        "an unknown type": envelope(task, body=encode(b'[[], {"a": {"__type__": "x", "__value__": 1}}, {}]')),
        "expires is a word": envelope(task, kwargs, headers={"expires": "soon"}),
        "expires is a number": envelope(task, kwargs, headers={"expires": 12}),
        "scheduled": envelope(task, kwargs, headers={"eta": "2999-01-01T00:00:00+00:00"}),
    }


WRONG_ARGUMENTS: list[Any] = [
    {"run_id": 1},
    {"run_id": 1, "phase": "plan", "attempt": 1, "more": 1},
    {"run_id": "1", "phase": "plan", "attempt": 1},
    {"run_id": True, "phase": "plan", "attempt": 1},
    {"run_id": -1, "phase": "plan", "attempt": 1},
    {"run_id": 0, "phase": "plan", "attempt": 1},
    {"run_id": 10**30, "phase": "plan", "attempt": 1},
    {"run_id": 1, "phase": "plan", "attempt": 2**31},
    {"run_id": 1, "phase": "plan", "attempt": -1},
    {"run_id": 1, "phase": "plan", "attempt": 1.5},
    {"run_id": 1, "phase": "explode", "attempt": 1},
    {"run_id": 1, "phase": ["plan"], "attempt": 1},
    {"run_id": None, "phase": None, "attempt": None},
]
"""Arguments that `iacq.plan` does not take."""

UNKNOWN_TASKS = [
    "iacq.confirm",
    "iacq.explode",
    "celery.chord_unlock",
    "celery.map",
    "celery.backend_cleanup",
    "os",
    "",
]
