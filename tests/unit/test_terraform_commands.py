import json
import shlex
import subprocess
from pathlib import Path

import pytest

from iacq.domain import terraform_commands as commands
from iacq.domain import terraform_events
from iacq.domain.run import RunOptions, RunType
from iacq.domain.terraform_commands import Variables
from iacq.errors import InvalidInput

PLAN = ("plan", "-input=false", "-lock=false", "-out=plan.out", "-detailed-exitcode", "-json")


@pytest.mark.parametrize(
    ("run_type", "options", "more"),
    [
        (RunType.PLAN, RunOptions(), ()),
        (RunType.PLAN_AND_APPLY, RunOptions(parallelism=3), ("-parallelism=3",)),
        (RunType.DESTROY, RunOptions(refresh=False), ("-destroy", "-refresh=false")),
        (RunType.DRIFT, RunOptions(), ("-refresh-only",)),
        (
            RunType.PLAN,
            RunOptions(targets=('a.b["x y"]', "c.d"), replacements=("e.f",)),
            ('-target=a.b["x y"]', "-target=c.d", "-replace=e.f"),
        ),
    ],
)
def test_plan(run_type, options, more):
    assert commands.plan(run_type, options) == (*PLAN, *more)


def test_the_other_commands():
    assert commands.init() == ("init", "-input=false", "-json")
    assert commands.init(as_json=False, readonly_lock=True) == (
        "init",
        "-input=false",
        "-no-color",
        "-lockfile=readonly",
    )
    assert commands.apply(RunOptions(parallelism=1)) == (
        "apply",
        "-input=false",
        "-json",
        "-parallelism=1",
        "plan.out",
    )


SHOWS = """#!/bin/sh
[ "$2" = -json ] && { echo '{}'; echo "json of $3" >&2; exit JSON; }
echo "text of $2"; exit TEXT
"""


@pytest.mark.parametrize(("as_json", "as_text", "ends"), [(0, 0, 0), (1, 0, 1), (0, 2, 2), (3, 2, 3)])
def test_show_prints_json_writes_text_and_fails_with_either(as_json, as_text, ends, tmp_path):
    program = tmp_path / "terra form"
    program.write_text(SHOWS.replace("JSON", str(as_json)).replace("TEXT", str(as_text)))
    program.chmod(0o700)
    diff = tmp_path / "a diff"
    ended = subprocess.run(commands.show(str(program), diff), capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr, diff.read_text()) == ("{}\n", "json of plan.out\n", "text of plan.out\n")
    assert ended.returncode == ends


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.11.4", True), ("1.9.0-beta1", True), ("1.8.5", False), ("2.0.0", True), ("?", False)],
)
def test_init_json_exists_since(version, expected):
    assert commands.has_init_json(version) is expected


def test_variables_come_in_order_and_the_runs_win():
    inputs = commands.plan_inputs(
        directory=Path("/run"),
        workspace=Variables(
            files=(Path("/w/a b.tfvars"),),
            values={"text": "w", "both": "w", "size": 1, "typed_then_text": [1]},
        ),
        run=Variables(files=(Path("/r.tfvars"),), values={"both": 2, "typed_then_text": "r"}),
    )
    assert shlex.split(inputs.arguments) == [
        "-var-file=/w/a b.tfvars",
        "-var-file=/run/iacq-workspace.tfvars.json",
        "-var=text=w",
        "-var-file=/r.tfvars",
        "-var-file=/run/iacq-run.tfvars.json",
        "-var=typed_then_text=r",
    ]
    assert {path.name: json.loads(text) for path, text in inputs.files.items()} == {
        "iacq-workspace.tfvars.json": {"size": 1},
        "iacq-run.tfvars.json": {"both": 2},
    }
    assert inputs.environment == {"TF_CLI_ARGS_plan": inputs.arguments}


def test_no_variables_need_nothing():
    inputs = commands.plan_inputs(directory=Path("/run"), workspace=Variables(), run=Variables())
    assert (inputs.files, inputs.environment) == ({}, {})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a b": "x"}, "'a b' is not the name of a variable"),
        ({"": "x"}, "'' is not the name of a variable"),
        ({"-x": 1}, "'-x' is not the name of a variable"),
        ({"a": "nul\0"}, "variable a holds a NUL character"),
        ({"a": "\ud800"}, "variable a is neither Unicode text nor a JSON value"),
        ({"a": float("nan")}, "variable a is neither Unicode text nor a JSON value"),
        ({"a": {"x": Path("x")}}, "variable a is neither Unicode text nor a JSON value"),
        ({"a": "se-cret" * 10_000, "longest": "se-cret" * 20_000}, "the longest is longest"),
    ],
)
def test_what_cannot_be_passed_is_refused_by_name(values, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        commands.plan_inputs(directory=Path("/run"), workspace=Variables(values=values), run=Variables())
    assert "se-cret" not in str(caught.value.__dict__)


def warning(name: str, file: str) -> terraform_events.Event:
    detail = f'The root module has no variable named "{name}" but a value was found in file "{file}". If you'
    said = {"severity": "warning", "summary": "Value for undeclared variable", "detail": detail}
    return terraform_events.parse(json.dumps({"@message": "Warning", "type": "diagnostic", "diagnostic": said}))


def test_undeclared():
    assert commands.undeclared(warning("size", "/run/iacq-run.tfvars.json")) == "size"
    assert commands.undeclared(warning("size", "terraform.tfvars")) is None
    assert commands.undeclared(terraform_events.parse("text")) is None
