"""Errors: one block, JSON on request, the exit code; never a traceback, never a secret."""

import json

import pytest
from sqlalchemy.exc import ProgrammingError

from iacq.cli import failing
from iacq.errors import Conflict, InvalidInput, NotFound, PhaseFailed, Unavailable, WaitTimeout
from tests.cli.fake_client import FakeClient


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("x"), 2),
        (NotFound("x"), 3),
        (Conflict("x"), 4),
        (Unavailable("x"), 5),
        (WaitTimeout("x"), 1),
        (PhaseFailed("x"), 1),
        (RuntimeError("x"), 1),
    ],
)
def test_exit_codes(error, code):
    assert failing.describe(error).exit_code == code


def test_an_error_is_one_block_with_field_and_fix(iacq):
    result = iacq(FakeClient(), "show", "7")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr == "Error: there is no run 7\n  Field: run\n  Fix:   `iacq runs` shows them\n"


def test_with_json_stdout_has_the_error(iacq):
    result = iacq(FakeClient(), "show", "7", "--json")
    assert json.loads(result.stdout) == {
        "error": {
            "code": "not_found",
            "field": "run",
            "message": "there is no run 7",
            "hint": "`iacq runs` shows them",
        }
    }
    assert result.exit_code == 3


@pytest.mark.parametrize(
    ("words", "field", "says"),
    [
        (["show", "abc"], "run", "'abc' is not a run id"),
        (["show", "0"], "run", "'0' is not a run id"),
        (["show", "-1"], "-1", "No such option"),
        (["plan"], "WORKSPACE", "Missing argument"),
        (["plan", "net", "--nope"], "--nope", "--nope"),
        (["plan", "net", "--priority", "high"], "--priority", "'high'"),
        (["plan", "net", "--var", "novalue"], "--var", "no value"),
        (["plan", "net", "--var", "=hush"], "--var", "no value"),
        (["plan", "net", "more"], None, "more"),
        (["logs", "42", "--offset", "3"], "--offset", "one phase"),
        (["runs", "--status", "lost"], "--status", "'lost'"),
        (["shwo"], None, "did you mean show?"),
        (["worker", "agent"], "--pod-name", "--pod-name"),
        (["workspace", "lock", "net"], "--reason", "--reason"),
    ],
)
def test_bad_input_names_the_field(iacq, words, field, says):
    result = iacq(FakeClient(), *words, "-json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["field"] == field
    assert says in error["message"]
    assert error["hint"]
    assert result.stderr.startswith("Error: ")
    assert "hush" not in result.stderr


def test_a_huge_run_id_is_not_found(iacq):
    assert iacq(FakeClient(), "show", "9" * 30).exit_code == 3


def test_an_unexpected_error_shows_no_parameters():
    failure = failing.describe(ProgrammingError("INSERT", {"value": "hush"}, Exception("syntax error\nLINE 1")))
    assert failure.message == "unexpected ProgrammingError: syntax error"


def test_an_unexpected_error_has_no_traceback(iacq):
    client = FakeClient()
    client.get = lambda _run_id: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    result = iacq(client, "show", "42")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: unexpected ZeroDivisionError")
    assert "Traceback" not in result.stderr


def test_interrupt_is_130(iacq):
    client = FakeClient()

    def interrupt(_run_id: int) -> None:
        raise KeyboardInterrupt

    client.get = interrupt  # type: ignore[method-assign, assignment]
    assert iacq(client, "show", "42").exit_code == 130
