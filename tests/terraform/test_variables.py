"""Variables arrive in terraform exactly as given."""

import json

import pytest

from iacq.domain import terraform_commands, terraform_events
from iacq.domain.run import RunOptions, RunType
from iacq.domain.terraform_commands import Variables

TEXTS = {
    "plain": "value",
    "empty": "",
    "spaces": "  two  words ",
    "quotes": """it's "quoted" '' "" `back` """,
    "newlines": "first\nsecond\r\n\tthird\n",
    "interpolation": "${var.x} %{if true} $${y} $HOME $(id)",
    "backslashes": r"C:\new\table \\ \" \' \n" + "\\",
    "shell": "a;b&c|d<e>f #g *?[h] ~ !i {j,k} (l) )m(",
    "unicode": "Grüße \N{SNOWMAN} \U0001f600",
    "equals": "=a==b=",
    "dash": "-destroy",
    "escape": "\x1b[31m\x07\x7f",
}
JSON_VALUES = {
    "number": 3,
    "real": 1.5,
    "truth": False,
    "nothing": None,
    "listed": ["a b", "${x}", 1],
    "object": {"k ey": {"n": [True, None]}, "t": 'q"\\'},
}


@pytest.fixture
def tree(tmp_path):
    directory = tmp_path / "tree"
    directory.mkdir()
    return directory


@pytest.fixture
def plan(run_terraform, tree):
    """Plan as a phase does; returns (ended process, variables that the plan holds)."""

    def run(*, workspace=Variables(), run=Variables(), declared="", check=True):  # noqa: B008 - frozen
        (tree / "main.tf").write_text(declared)
        inputs = terraform_commands.plan_inputs(directory=tree.parent, workspace=workspace, run=run)
        for path, text in inputs.files.items():
            path.write_text(text)
        arguments = terraform_commands.plan(RunType.PLAN, RunOptions())
        ended = run_terraform(*arguments, cwd=tree, check=False, **inputs.environment)
        if not check:
            return ended, None
        assert ended.returncode in (0, 2), ended.stdout
        shown = json.loads(run_terraform("show", "-json", "plan.out", cwd=tree).stdout)
        return ended, {name: entry.get("value") for name, entry in shown.get("variables", {}).items()}

    return run


def declare(names) -> str:
    return "".join(f'variable "{name}" {{}}\n' for name in names)


def test_text_and_json_arrive_unchanged(plan):
    given = {**TEXTS, **JSON_VALUES}
    _, seen = plan(workspace=Variables(values=given), declared=declare(given))
    assert seen == given


def test_text_is_read_by_the_declared_type_as_with_var(plan):
    declared = 'variable "l" {\n  type = list(number)\n}\nvariable "s" {\n  type = string\n}\n'
    _, seen = plan(run=Variables(values={"l": "[1, 2]", "s": "[1, 2]"}), declared=declared)
    assert seen == {"l": [1, 2], "s": "[1, 2]"}


def test_later_wins(plan, tree):
    first, second = tree.parent / "first one.tfvars", tree.parent / "second.tfvars"
    first.write_text('a = "wf"\nb = "wf"\nc = "wf"\nd = "wf"\n')
    second.write_text('c = "rf"\nd = "rf"\n')
    _, seen = plan(
        workspace=Variables(files=(first,), values={"b": "w", "c": "w", "e": [1]}),
        run=Variables(files=(second,), values={"d": "r", "e": "r"}),
        declared=declare("abcde"),
    )
    assert seen == {"a": "wf", "b": "w", "c": "rf", "d": "r", "e": "r"}


def test_an_undeclared_text_is_terraforms_error(plan):
    ended, _ = plan(workspace=Variables(values={"nowhere": "x"}), check=False)
    assert ended.returncode == 1
    error = terraform_events.first_error(map(terraform_events.parse, ended.stdout.splitlines()))
    assert error.startswith('Value for undeclared variable\n\nA variable named "nowhere"')


def test_an_undeclared_json_value_is_noticed(plan):
    ended, _ = plan(run=Variables(values={"nowhere": 1}), check=False)
    assert ended.returncode == 0
    events = map(terraform_events.parse, ended.stdout.splitlines())
    assert [name for name in map(terraform_commands.undeclared, events) if name] == ["nowhere"]


def test_the_longest_text_that_is_accepted_arrives(plan):
    text = "x" * (terraform_commands.MAX_ARGUMENTS - 20)
    _, seen = plan(workspace=Variables(values={"long": text}), declared=declare(["long"]))
    assert seen == {"long": text}
