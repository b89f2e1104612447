"""Calls through the broker: the same checks as a client's, an answer for everything, nothing applied by itself."""

import dataclasses
from typing import Any

import pytest

from iacq.domain.run import RunType, Status
from iacq.domain.source import SourceLocation
from iacq.errors import InvalidInput
from iacq.ports import PackedSource
from iacq.services import calls, enqueuing
from iacq.services.core import Core
from iacq.services.enqueuing import Request
from iacq.testing.source import FakeSource, without_backend
from tests.store.world import World


def enqueue(core: Core, **given: Any) -> dict[str, Any]:
    asked = {"workspace": "network", "run_type": "plan_and_apply", **given}
    return calls.answer(core, "iacq.enqueue", (), {name: value for name, value in asked.items() if value is not ...})


@pytest.mark.parametrize("run_type", ["plan_and_apply", "destroy", "plan", "drift"])
@pytest.mark.parametrize("asked", [True, False, None])
def test_the_policy_does_not_hold_for_calls(world: World, core: Core, run_type: str, asked: bool | None) -> None:
    world.workspace(auto_apply=True)
    answer = enqueue(core, run_type=run_type, auto_apply=asked)
    run = world.run(answer["id"])
    assert (run.auto_apply, run.status) == (False, Status.PENDING)


def test_a_call_does_not_get_a_run_that_applies_by_itself(world: World, core: Core) -> None:
    world.workspace(auto_apply=True)
    trusted = enqueuing.enqueue(
        core, Request(workspace="network", run_type=RunType.PLAN_AND_APPLY, by="a", idempotency_key="k")
    )
    assert trusted.auto_apply
    error = enqueue(core, idempotency_key="k")["error"]
    assert (error["code"], error["field"]) == ("conflict", "idempotency_key")


@pytest.mark.parametrize(("by", "recorded"), [("billing", "celery:billing"), (None, "celery"), ("", "celery")])
def test_who_asked_is_marked(world: World, core: Core, by: str | None, recorded: str) -> None:
    world.workspace()
    assert enqueue(core, by=by)["requested_by"] == recorded


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"workspace": ...}, "workspace"),
        ({"workspace": None}, "workspace"),
        ({"workspace": 7}, "workspace"),
        ({"workspace": "../x"}, "workspace"),
        ({"workspace": "x\0"}, "workspace"),
        ({"run_type": ...}, "run_type"),
        ({"run_type": "explode"}, "run_type"),
        ({"run_type": ["plan"]}, "run_type"),
        ({"variables": [1]}, "variables"),
        ({"variables": "size=3"}, "variables"),
        ({"variables": {"1x": 1}}, "variables"),
        ({"variables": {"x": float("nan")}}, "variables"),
        ({"variables": {"x": {"deep": "\ud800"}}}, "variables"),
        ({"variables": {"x": ...}}, "variables"),  # no JSON
        ({"var_files": ["/etc/passwd"]}, "var_files"),
        ({"var_files": "/etc/passwd"}, "var_files"),
        ({"targets": "a.b"}, "targets"),
        ({"targets": [1]}, "targets"),
        ({"replacements": {"a": 1}}, "replacements"),
        ({"refresh": "no"}, "refresh"),
        ({"refresh": 0}, "refresh"),
        ({"parallelism": "4"}, "parallelism"),
        ({"parallelism": 0}, "parallelism"),
        ({"parallelism": 2.0}, "parallelism"),
        ({"priority": "high"}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 101}, "priority"),
        ({"idempotency_key": 5}, "idempotency_key"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "k" * 201}, "idempotency_key"),
        ({"message": {}}, "message"),
        ({"message": "a\0b"}, "message"),
        ({"message": "\udfff"}, "message"),
        ({"auto_apply": "yes"}, "auto_apply"),
        ({"supersede": 1}, "supersede"),
        ({"import_state": "x"}, "import_state"),
        ({"import_state": True, "ignore_state": True}, "import_state"),
        ({"by": 3}, "by"),
        ({"by": "b" * 191}, "by"),
        ({"plan_hash": "x"}, "plan_hash"),
        ({"confirm": True}, "confirm"),
        ({"a" * 1000: 1}, "a" * 60),
    ],
    ids=str,
)
def test_bad_input_names_the_field_and_changes_nothing(
    world: World, core: Core, given: dict[str, Any], field: str
) -> None:
    world.workspace()
    before = world.rows()
    error = enqueue(core, **given)["error"]
    assert error.keys() == {"code", "field", "message", "hint"}
    assert (error["code"], error["field"]) == ("invalid_input", field)
    assert len(error["message"]) < 300
    assert world.rows() == before


def test_a_workspace_that_is_not_there(core: Core) -> None:
    error = enqueue(core, workspace="nowhere")["error"]
    assert (error["code"], error["field"]) == ("not_found", "workspace")


def test_positional_arguments_are_answered_too(core: Core) -> None:
    for task in ("iacq.enqueue", "iacq.get_run"):
        assert calls.answer(core, task, ["network", "plan"], {})["error"]["field"] == "args"


class AbsentSource(FakeSource):
    def pack(self, location: SourceLocation, *, limit: int) -> PackedSource:
        raise InvalidInput(f"{location.at} does not exist", field="--path")


def test_a_directory_that_the_control_worker_does_not_have(world: World, core: Core) -> None:
    world.workspace()
    elsewhere = dataclasses.replace(core, source=AbsentSource(without_backend()))
    error = enqueue(elsewhere)["error"]
    assert (error["code"], error["field"]) == ("invalid_input", "workspace")
    assert "control worker" in error["hint"]


class BrokenSource(FakeSource):
    def pack(self, location: SourceLocation, *, limit: int) -> PackedSource:
        raise RuntimeError("hush")


def test_a_fault_of_iacq_is_an_answer_without_details(world: World, core: Core) -> None:
    world.workspace()
    broken = dataclasses.replace(core, source=BrokenSource(without_backend()))
    error = enqueue(broken)["error"]
    assert error["code"] == "unexpected"
    assert "hush" not in str(error)


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({}, "invalid_input", "workspace"),
        ({"id": "1"}, "invalid_input", "id"),
        ({"id": True}, "invalid_input", "id"),
        ({"id": -1}, "not_found", "id"),
        ({"id": 10**30}, "not_found", "id"),
        ({"workspace": "network"}, "invalid_input", "idempotency_key"),
        ({"workspace": "a b", "idempotency_key": "k"}, "invalid_input", "workspace"),
        ({"workspace": "network", "idempotency_key": "k"}, "not_found", "idempotency_key"),
        ({"run": 1}, "invalid_input", "run"),
    ],
    ids=str,
)
def test_asking_for_a_run_that_is_not_there(
    world: World, core: Core, given: dict[str, Any], code: str, field: str
) -> None:
    world.workspace()
    error = calls.answer(core, "iacq.get_run", (), given)["error"]
    assert (error["code"], error["field"]) == (code, field)


def test_asking_for_a_run(world: World, core: Core) -> None:
    world.workspace()
    run = enqueue(core, idempotency_key="k")
    by_id = calls.answer(core, "iacq.get_run", (), {"id": run["id"]})
    assert by_id == calls.answer(core, "iacq.get_run", (), {"workspace": "network", "idempotency_key": "k"}) == run
