"""What is shown of `-json` lines is what terraform prints without `-json`."""

import json

import pytest

from iacq.domain import terraform_events as events

OUTPUTS = """
resource "terraform_data" "x" {
  input = "é"
  provisioner "local-exec" {
    command = "echo one; echo two"
  }
}
output "l" { value = [1, 2.5, { a = "b", "c d" = null }] }
output "m" { value = tomap({ k = ["multi\\nline", "q\\"\\\\"] }) }
output "s" {
  value     = "hidden"
  sensitive = true
}
output "t" { value = toset(["b", "a"]) }
output "e" { value = [{}, [], tolist([]), "", true] }
output "h" { value = "a\\nEOT\\n" }
"""

BROKEN = {
    "place and bytes": 'locals {\n  s = "é${1 + "a"}"\n}\noutput "s" {\n  value = local.s\n}\n',
    "no such argument": 'resource "terraform_data" "a" {\n  no_such_argument = 1\n}\n',
    "values": """
variable "n" {
  default = ["a", "b"]
}
output "x" {
  value = [for i in var.n : element([], i)]
}
""",
    "two errors": 'output "a" {\n  value = nothing.here\n}\n\noutput "b" {\n  value = upper(1, 2)\n}\n',
    "wrapped": """
variable "v" {
  default = 3
  validation {
    condition     = var.v > 5
    error_message = "The number must be greater than five; this goes on for longer than a line has room."
  }
}
""",
    "own lines": """
resource "terraform_data" "a" {
  input = "x"
  lifecycle {
    precondition {
      condition     = self.input == "y"
      error_message = "  indented\\nand not"
    }
  }
}
""",
}


@pytest.fixture
def both(run_terraform, tmp_path):
    """Run one command with and without -json; returns (shown of the first, printed by the second), lines."""

    def run(configuration: str, *command: str) -> tuple[list[str], list[str]]:
        outputs = []
        for options in (["-json"], []):
            tree = tmp_path / ("json" if options else "text")
            tree.mkdir(exist_ok=True)
            (tree / "main.tf").write_text(configuration)
            run_terraform("init", "-input=false", cwd=tree, check=False)
            outputs.append(run_terraform(*command, *options, "-input=false", cwd=tree, check=False).stdout)
        shown = [events.render(events.parse(line)) for line in outputs[0].splitlines()]
        return (
            events.strip_colours("\n".join(text for text in shown if text is not None)).splitlines(),
            events.strip_colours(outputs[1]).splitlines(),
        )

    return run


def boxes(lines: list[str]) -> list[str]:
    """The boxes, in any order: terraform sorts them differently with -json."""
    text = "\n".join(line.rstrip() for line in lines)
    return sorted(part.split("╷\n")[-1] for part in text.split("\n╵")[:-1])


@pytest.mark.parametrize("name", BROKEN)
def test_diagnostics_look_like_terraforms(both, name):
    shown, printed = both(BROKEN[name], "plan")
    assert boxes(shown)
    assert boxes(shown) == boxes(printed)


def test_an_apply_reads_like_terraforms(both):
    shown, printed = both(OUTPUTS, "apply", "-auto-approve")
    start = printed.index("terraform_data.x: Creating...")

    def without_identity(lines):
        return [line.split(" [id=")[0].split(" after ")[0] for line in lines]

    begin = shown.index("terraform_data.x: Creating...")
    assert without_identity(shown[begin:]) == without_identity(printed[start:])
    assert "s = <sensitive>" in shown


def test_first_error_is_the_same_with_and_without_json(run_terraform, tmp_path):
    (tmp_path / "main.tf").write_text('output "a" {\n  value = nothing.here\n}\n')
    first = [
        events.first_error(map(events.parse, run_terraform(*command, cwd=tmp_path, check=False).stdout.splitlines()))
        for command in (("plan", "-json"), ("plan",), ("plan", "-no-color"))
    ]
    words = [text.split() for text in first]
    assert words[0] == words[1] == words[2]
    assert 'on main.tf line 2, in output "a":' in first[0]


def test_progress_of_a_real_apply(run_terraform, tmp_path):
    (tmp_path / "main.tf").write_text(
        'resource "terraform_data" "ok" {}\n'
        'resource "terraform_data" "bad" {\n  provisioner "local-exec" {\n    command = "exit 3"\n  }\n}\n'
    )
    run_terraform("init", cwd=tmp_path)
    run_terraform("plan", "-out=plan.out", cwd=tmp_path)
    ended = run_terraform("apply", "-json", "plan.out", cwd=tmp_path, check=False)
    progress = events.Progress()
    for line in ended.stdout.splitlines():
        progress.update(events.parse(line))
    state = json.loads((tmp_path / "terraform.tfstate").read_text())
    ids = {entry["name"]: entry["instances"][0]["attributes"]["id"] for entry in state["resources"]}
    assert progress.completed == [events.Completed(address="terraform_data.ok", action="create", id=ids["ok"])]
    assert progress.counts() == {"planned": 0, "running": 0, "done": 1, "failed": 1}
    assert progress.error().startswith(
        "local-exec provisioner error\n\n  with terraform_data.bad,\n  on main.tf line 3"
    )
