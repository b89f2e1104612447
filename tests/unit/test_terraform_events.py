import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iacq.domain import terraform_events as events
from iacq.domain.run import Changes
from iacq.domain.terraform_values import format_value


def line(kind, message="words", level="info", **more):
    return json.dumps({"@level": level, "@message": message, "@module": "terraform.ui", "type": kind, **more})


def hook(address="null_resource.x", action="create", **more):
    return {"resource": {"addr": address}, "action": action, **more}


def shown(text):
    rendered = events.render(events.parse(text))
    return None if rendered is None else events.strip_colours(rendered)


def diagnostic(**more):
    return line("diagnostic", level=more.get("severity", "error"), diagnostic={"severity": "error", **more})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (line("apply_start", "null_resource.x: Creating..."), "null_resource.x: Creating..."),
        (
            line("apply_progress", "null_resource.x: Still creating... [10s elapsed]"),
            "null_resource.x: Still creating... [10s elapsed]",
        ),
        (
            line("apply_complete", "null_resource.x: Creation complete after 0s [id=1]"),
            "null_resource.x: Creation complete after 0s [id=1]",
        ),
        (line("apply_errored", "a.b: Creation errored after 2s"), "a.b: Creation errored after 2s"),
        (line("refresh_start", "a.b: Refreshing state... [id=1]"), "a.b: Refreshing state... [id=1]"),
        (line("refresh_complete"), None),
        (line("version"), None),
        (line("planned_change"), None),
        (line("resource_drift"), None),
        (
            line("provision_progress", hook=hook("a.b[0]", provisioner="local-exec", output="hi there")),
            "a.b[0] (local-exec): hi there",
        ),
        (
            line("change_summary", "Plan: 1 to add, 0 to change, 0 to destroy.", changes={"operation": "plan"}),
            "\nPlan: 1 to add, 0 to change, 0 to destroy.",
        ),
        (
            line("change_summary", "Apply complete! Resources: 1 added.", changes={"operation": "apply"}),
            "\nApply complete! Resources: 1 added.",
        ),
        (line("log", "- m in"), "- m in"),
        (line("log", "noise", level="debug"), None),
        (line("log", "noise", level="trace"), None),
        (line("init_output", "Try it", message_code="output_init_success_cli_message"), None),
        (line("init_output", "Go...", message_code="initializing_backend_message"), "Go..."),
        (line("not_yet_invented", "something new"), "something new"),
        (line("outputs", outputs={"a": {"sensitive": False, "action": "create"}}), None),
        (
            line(
                "outputs",
                outputs={
                    "s": {"sensitive": True, "type": "string", "value": "hidden"},
                    "t": {"sensitive": True, "type": "string"},
                    "a": {"sensitive": False, "type": ["set", "string"], "value": ["x"]},
                },
            ),
            '\nOutputs:\n\na = toset([\n  "x",\n])\ns = <sensitive>\nt = <sensitive>',
        ),
        ("just text\r\n", "just text"),
        ("", ""),
        ("{broken", "{broken"),
        ('{"some": "json"}', '{"some": "json"}'),
        ("[1]", "[1]"),
        (b"caf\xc3\xa9 \xff\x00", "café \ufffd\ufffd"),
        (line("log", "nul \0 and \ud800"), "nul \ufffd and ?"),
    ],
)
def test_a_line_is_shown_in_terraforms_words(text, expected):
    assert shown(text) == expected


def test_colours_are_terraforms():
    assert events.render(events.parse(line("apply_start", "x: Creating..."))) == "\x1b[1mx: Creating...\x1b[0m"
    assert events.strip_colours("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07") == "red link"


def test_a_diagnostic_is_a_box():
    text = diagnostic(
        summary="Invalid operand",
        detail="Unsuitable value: a number is required, and this sentence is long enough to be wrapped.\n  kept as is",
        address="a.b",
        range={"filename": "main.tf", "start": {"line": 2, "column": 15}},
        snippet={
            "context": "locals",
            "code": '  s = "é${1 + "a"}"',
            "start_line": 2,
            "highlight_start_offset": 15,
            "highlight_end_offset": 18,
            "values": [{"traversal": "var.n", "statement": "is a list"}],
        },
    )
    assert shown(text).splitlines() == [
        "╷",
        "│ Error: Invalid operand",
        "│",
        "│   with a.b,",
        "│   on main.tf line 2, in locals:",
        '│    2:   s = "é${1 + "a"}"',
        "│     ├────────────────",
        "│     │ var.n is a list",
        "│",
        "│ Unsuitable value: a number is required, and this sentence is long enough to",
        "│ be wrapped.",
        "│   kept as is",
        "╵",
    ]
    assert '\x1b[4m"a"\x1b[0m' in events.render(events.parse(text))


def test_the_warning_that_iacqs_own_mirror_causes_is_not_shown():
    own = diagnostic(severity="warning", summary="Incomplete lock file information for providers", detail="d")
    assert shown(own) is None
    assert shown(diagnostic(severity="warning", summary="Deprecated")) == "╷\n│ Warning: Deprecated\n│\n╵"


def test_a_huge_line_is_cut_with_a_note():
    event = events.parse(b"x" * 10_000_000)
    assert event.message.endswith("… (9934464 more characters are not shown)")
    assert len(event.message) < events.MAX_TEXT + 100
    huge = events.parse(line("log", "y" * 10_000_000))
    assert len(events.render(huge)) < events.MAX_TEXT + 100
    beyond = events.parse(b'{"@message": "' + b"z" * (events.MAX_JSON + 1))
    assert beyond.kind == events.PLAIN
    assert len(beyond.message) < events.MAX_TEXT + 100


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "a", "two\nlines", "error", "plan"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "value", "addr"]), inner),
    max_leaves=6,
)
# A busy machine is no failure: no deadline, and slow generation is accepted.
KINDS = ["diagnostic", "change_summary", "outputs", "provision_progress", "planned_change", "apply_complete"]


@given(
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(["diagnostic", "changes", "outputs", "hook", "change"]), json_values),
)
def test_events_of_any_shape_are_taken(kind, more):
    event = events.parse(line(kind, **more))
    rendered = events.render(event)
    assert rendered is None or isinstance(rendered, str)
    progress = events.Progress()
    progress.update(event)
    progress.error()
    progress.counts()


@given(
    st.fixed_dictionaries(dict.fromkeys(("severity", "summary", "detail", "address", "range", "snippet"), json_values))
)
def test_diagnostics_of_any_shape_are_taken(said):
    event = events.parse(line("diagnostic", diagnostic=said))
    assert isinstance(events.render(event), str)
    events.first_error([event])


@given(st.binary())
def test_any_bytes_are_taken(raw):
    assert events.render(events.parse(raw)) is not None


def test_first_error_is_the_text_once():
    warning = diagnostic(severity="warning", summary="W", detail="w")
    error = diagnostic(
        summary="Unsupported argument",
        detail="An argument is not expected here.",
        range={"filename": "main.tf", "start": {"line": 3}},
        snippet={"context": 'resource "a" "b"', "code": "  x = 1", "start_line": 3},
    )
    found = events.first_error(map(events.parse, [warning, error, error, diagnostic(summary="Another")]))
    assert found == (
        "Unsupported argument\n\n"
        '  on main.tf line 3, in resource "a" "b":\n   3:   x = 1\n\n'
        "An argument is not expected here."
    )
    assert events.first_error(map(events.parse, [warning, "all well"])) == ""


def test_first_error_of_plain_text():
    boxed = [
        "\x1b[31m╷\x1b[0m\x1b[0m",
        "\x1b[31m│\x1b[0m \x1b[0m\x1b[1m\x1b[31mError: \x1b[0m\x1b[0m\x1b[1mSaved plan is stale\x1b[0m",
        "\x1b[31m│\x1b[0m \x1b[0m",
        "\x1b[31m│\x1b[0m \x1b[0m\x1b[0mThe plan can no longer be applied.",
        "\x1b[31m╵\x1b[0m\x1b[0m",
        "something after it",
    ]
    expected = "Saved plan is stale\n\nThe plan can no longer be applied."
    assert events.first_error(map(events.parse, ["before", *boxed])) == expected
    assert events.first_error(map(events.parse, ["Error: no box here", "more"])) == "no box here\nmore"


def test_progress_counts_and_keeps_evidence():
    progress = events.Progress()
    for text in [
        line("planned_change", change=hook("a.new", "create")),
        line("planned_change", change=hook("a.swap", "replace")),
        line("planned_change", change=hook("a.later", "update")),
        line("planned_change", change=hook("a.bad", "create")),
        line("change_summary", changes={"operation": "plan", "add": 3, "change": 1, "remove": 1}),
        line("apply_start", hook=hook("data.a.read", "read")),
        line("apply_complete", hook=hook("data.a.read", "read", id_value="r")),
        line("apply_start", hook=hook("a.new", "create")),
        line("apply_complete", hook=hook("a.new", "create", id_key="id", id_value="i-1", elapsed_seconds=1)),
        line("apply_complete", hook=hook("a.swap", "delete", elapsed_seconds=0)),
        line("apply_start", hook=hook("a.swap", "create")),
        line("apply_progress", hook=hook("a.swap", "create", elapsed_seconds=10)),
        line("apply_errored", hook=hook("a.bad", "create", elapsed_seconds=2)),
        diagnostic(summary="It broke"),
    ]:
        progress.update(events.parse(text))
    assert progress.planned == Changes(add=3, change=1, destroy=1)
    assert progress.applied is None
    assert progress.counts() == {"planned": 1, "running": 1, "done": 1, "failed": 1}
    assert progress.resources["a.swap"] == events.Resource(
        address="a.swap", action="create", status="running", elapsed=10
    )
    assert progress.completed == [
        events.Completed(address="a.new", action="create", id="i-1"),
        events.Completed(address="a.swap", action="delete", id=None),
    ]
    assert progress.error() == "It broke"


def test_many_warnings_do_not_crowd_out_the_error():
    progress = events.Progress()
    for _ in range(500):
        progress.update(events.parse(diagnostic(severity="warning", summary="W")))
    progress.update(events.parse(diagnostic(summary="E")))
    assert len(progress.diagnostics) == events.MAX_DIAGNOSTICS + 1
    assert progress.error() == "E"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("x", "string", '"x"'),
        ("a\nEOT", "string", "<<EOT_\na\nEOT\nEOT_"),
        (1.5, "number", "1.5"),
        (True, "bool", "true"),
        (None, "string", "tostring(null)"),
        (None, ["object", {}], "null"),
        ([], ["list", "string"], "tolist([])"),
        ({}, ["map", "string"], "tomap({})"),
        (
            [1, {"b": "c"}],
            ["tuple", ["number", ["object", {"b": "string"}]]],
            '[\n  1,\n  {\n    "b" = "c"\n  },\n]',
        ),
        ({"k": "x\ny"}, ["map", "string"], 'tomap({\n  "k" = <<-EOT\n  x\n  y\n  EOT\n})'),
        ({"k": [1]}, "no such type", '{\n  "k" = [\n    1,\n  ]\n}'),
    ],
)
def test_values_are_written_in_terraforms_language(value, kind, expected):
    assert format_value(value, kind) == expected


def test_a_deep_value_is_written():
    value = kind = None
    for _ in range(200):
        value, kind = [value], ["tuple", [kind]]
    assert format_value(value, kind).count("[") == 200
