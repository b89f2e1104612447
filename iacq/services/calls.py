"""Calls by services that have Celery and not iacq: JSON in, JSON out.

Whoever can write to the broker can call, so a call is trusted less than a client, which has the database: its run never
applies by itself, whatever the workspace's policy is, and it reads no files that the caller names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from iacq import log, messages
from iacq.domain import fields, workspace
from iacq.domain.run import Run
from iacq.errors import IacqError, InvalidInput, NotFound
from iacq.services import enqueuing, requests, views
from iacq.services.core import Core
from iacq.store import runs

logger = log.get(__name__)

_ENQUEUE_FIELDS = (
    "workspace",
    "run_type",
    "variables",
    "var_files",
    "targets",
    "replacements",
    "refresh",
    "parallelism",
    "priority",
    "idempotency_key",
    "message",
    "auto_apply",
    "supersede",
    "import_state",
    "ignore_state",
    "by",
)
_GET_FIELDS = ("id", "workspace", "idempotency_key")

_AS_CALLED = {
    "--priority": "priority",
    "--parallelism": "parallelism",
    "--key": "idempotency_key",
    "--var": "variables",
    "--import-state": "import_state",
    "--path": "workspace",
    "--archive": "workspace",
}
"""Fields of a call, by the names that errors use for people at the command line."""

_READ_THERE = ("--path", "--archive")

_LONGEST_BY = 190
"""With its mark, who asked has at most 200 characters."""


def answer(core: Core, task: str, args: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one call: with the run, as `--json` prints it, or with `{"error": {code, field, message, hint}}`.

    An error is an answer, not an exception: a caller without iacq could not decode one.
    """
    try:
        _require_none(task, args)
        run = _CALLS[task](core, given)
        return views.run_to_json(run, views.waiting_of(core, run))
    except IacqError as error:
        return _error(error)
    except Exception as error:
        # Its text might hold values that the caller sent.
        logger.exception("%s failed", task)
        kind = type(error).__name__
        return _error(IacqError(f"unexpected {kind}", code="unexpected", hint="the control worker's log says more"))


def _enqueue(core: Core, given: Mapping[str, Any]) -> Run:
    _require_known(messages.ENQUEUE, given, _ENQUEUE_FIELDS)
    if given.get("var_files"):
        raise InvalidInput(
            "variable files cannot be named through the broker: they would be files of the control worker's machine",
            field="var_files",
            hint="send their content as variables",
        )
    name = fields.optional_text(given.get("by"), "by", longest=_LONGEST_BY)
    request = requests.make(given, by=f"celery:{name}" if name else "celery")
    return enqueuing.enqueue(core, dataclasses.replace(request, auto_apply=False))


def _get_run(core: Core, given: Mapping[str, Any]) -> Run:
    _require_known(messages.GET_RUN, given, _GET_FIELDS)
    if given.get("id") is not None:
        run_id = fields.whole(given["id"], "id")
        found = core.database.read(runs.get, run_id) if messages.is_id(run_id) else None
        if found is None:
            raise NotFound(f"there is no run {run_id}"[:60], field="id")
        return found
    for field in ("workspace", "idempotency_key"):
        if given.get(field) is None:
            raise InvalidInput(f"{field} is missing", field=field, hint="give id, or workspace and idempotency_key")
    name = workspace.check_name(fields.text(given["workspace"], "workspace"))
    key = fields.text(given["idempotency_key"], "idempotency_key")
    keyed = core.database.read(runs.by_key, name, key)
    if keyed is None:
        raise NotFound(f"no run of workspace {name} has this key", field="idempotency_key")
    return keyed[0]


_CALLS: Mapping[str, Callable[[Core, Mapping[str, Any]], Run]] = {
    messages.ENQUEUE: _enqueue,
    messages.GET_RUN: _get_run,
}


def _require_none(task: str, args: object) -> None:
    if args:
        raise InvalidInput(f"{task} takes keyword arguments only", field="args", hint="send_task(…, kwargs={…})")


def _require_known(task: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            shown = ascii(name[:60]).strip("'")
            raise InvalidInput(f"{task} has no field {shown}", field=shown, hint=f"it takes {', '.join(known)}")


def _error(error: IacqError) -> dict[str, Any]:
    hint = error.hint
    if error.field in _READ_THERE:
        hint = "a directory or archive of a workspace is read on the control worker's machine: it must exist there"
    shown = {
        "code": error.code,
        "field": _AS_CALLED.get(error.field or "", error.field),
        "message": error.message,
        "hint": hint,
    }
    return {"error": shown}
