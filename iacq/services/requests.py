"""Make a request of what a caller gave: the same for Python and for JSON that came through the broker."""

from __future__ import annotations

from collections.abc import Mapping

from iacq.domain import fields
from iacq.domain.run import RunOptions, RunType
from iacq.errors import InvalidInput
from iacq.services.enqueuing import Request


def make(given: Mapping[str, object], *, by: str) -> Request:
    """Check the types of the fields of `iacq.client.Client.enqueue` and make a request of them.

    given: `workspace` and `run_type`; any other field may be missing, which means its default. by: who asks. Raises
    InvalidInput that names the field.
    """
    for name in ("workspace", "run_type"):
        if given.get(name) is None:
            raise InvalidInput(f"{name} is missing", field=name)
    parallelism, auto_apply = given.get("parallelism"), given.get("auto_apply")
    return Request(
        workspace=fields.text(given["workspace"], "workspace"),
        run_type=_run_type(given["run_type"]),
        by=fields.text(by, "by", longest=200),
        variables=fields.mapping(_or(given, "variables", {}), "variables"),
        var_files=fields.texts(_or(given, "var_files", ()), "var_files"),
        options=RunOptions(
            targets=fields.texts(_or(given, "targets", ()), "targets"),
            replacements=fields.texts(_or(given, "replacements", ()), "replacements"),
            refresh=fields.flag(_or(given, "refresh", True), "refresh"),
            parallelism=None if parallelism is None else fields.whole(parallelism, "parallelism"),
        ),
        priority=fields.whole(_or(given, "priority", 0), "priority"),
        idempotency_key=fields.optional_text(given.get("idempotency_key"), "idempotency_key"),
        message=fields.optional_text(given.get("message"), "message"),
        auto_apply=None if auto_apply is None else fields.flag(auto_apply, "auto_apply"),
        supersede=fields.flag(_or(given, "supersede", False), "supersede"),
        import_state=fields.flag(_or(given, "import_state", False), "import_state"),
        ignore_state=fields.flag(_or(given, "ignore_state", False), "ignore_state"),
    )


def _or(given: Mapping[str, object], name: str, default: object) -> object:
    value = given.get(name)
    return default if value is None else value


def _run_type(value: object) -> RunType:
    try:
        return RunType(fields.text(value, "run_type"))
    except ValueError:
        raise InvalidInput(
            f"{value!a} is no type of run", field="run_type", hint=f"one of {', '.join(RunType)}"
        ) from None
