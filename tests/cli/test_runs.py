"""plan, apply, destroy, drift: what is asked of the client, what is shown, and the exit code."""

import json
import os

import pytest

from iacq.domain.run import Changes, Phase, RunType, StartTier, Status, WarmupStatus
from tests.cli.fake_client import HASH, TIMINGS, FakeClient, make_run

PLANNED = {"status": Status.SUCCESS, "plan_hash": HASH, "changes": Changes(add=1, change=0, destroy=0)}
NOTHING = {
    "status": Status.PLANNED_AND_FINISHED,
    "plan_hash": HASH,
    "changes": Changes(add=0, change=0, destroy=0),
}
FAILED = {
    "status": Status.FAILED,
    "error_code": "terraform",
    "error_text": "Error: Unsupported block\n\n  on main.tf",
}


def test_plan_passes_its_options_on(iacq):
    client = FakeClient(plan_ends=PLANNED)
    words = [
        "plan",
        "net",
        "-var",
        "a=1",
        "-var",
        "b=x=y",
        "-var-file",
        "f.tfvars",
        "-target",
        "t.a",
        "-replace",
        "r.b",
        "-refresh=false",
    ]
    more = ["--parallelism", "3", "--priority", "5", "--key", "k", "--message", "m", "--ignore-state"]
    assert iacq(client, *words, *more).exit_code == 0
    assert client.called("enqueue") == [
        {
            "workspace": "net",
            "run_type": RunType.PLAN,
            "variables": {"a": "1", "b": "x=y"},
            "var_files": (os.path.abspath("f.tfvars"),),
            "targets": ("t.a",),
            "replacements": ("r.b",),
            "refresh": False,
            "parallelism": 3,
            "priority": 5,
            "idempotency_key": "k",
            "message": "m",
            "import_state": False,
            "ignore_state": True,
        }
    ]


def test_plan_streams_the_log_to_stdout_and_the_rest_to_stderr(iacq):
    client = FakeClient(plan_ends=PLANNED, waits=["behind run 41 (planning)"])
    result = iacq(client, "plan", "net")
    assert result.stdout == "Plan: 1 to add\n"
    assert result.stderr.split("\n") == [
        "Run 42 (plan of net) is pending",
        "Run 42: behind run 41 (planning)",
        "Run 42: plan in slot 2 of pod local-1",
        "",
    ]


def test_plan_with_json_prints_the_run_only(iacq):
    result = iacq(FakeClient(plan_ends=PLANNED), "plan", "net", "--json")
    assert json.loads(result.stdout)["status"] == "success"
    assert result.stdout.count("\n") == 1
    assert "Plan: 1 to add" in result.stderr


@pytest.mark.parametrize(
    ("plan", "ends", "code"),
    [
        ({"applyable": True}, PLANNED, 2),
        ({"applyable": False}, PLANNED, 0),
        ({"output_changes": {"x": {"actions": ["create"]}}}, PLANNED, 2),
        ({"resource_changes": [{"change": {"actions": ["no-op"]}}]}, PLANNED, 0),
        ({"resource_changes": [{"change": {"actions": ["read"]}}]}, PLANNED, 0),
        ({"resource_drift": [{"change": {"actions": ["update"]}}]}, PLANNED, 2),
        ({"applyable": True}, FAILED, 1),
    ],
)
def test_detailed_exit_code(iacq, plan, ends, code):
    assert iacq(FakeClient(plan_ends=ends, plan=plan), "plan", "net", "-detailed-exitcode").exit_code == code
    if code != 1:
        assert iacq(FakeClient(plan_ends=ends, plan=plan), "plan", "net").exit_code == 0


@pytest.mark.parametrize("asked", [("net", "--parallelism", "x"), (), ("net", "--var", "1=2")])
def test_with_a_detailed_exit_code_every_error_is_1(iacq, sqlite_url, asked):
    """2 would say that there are changes, and nobody reads 3 to 5 as an error of the plan."""
    env = {"IACQ_DATABASE_URL": sqlite_url}
    for command in ("plan", "drift"):
        assert iacq(None, command, *asked, "--detailed-exitcode", env=env).exit_code == 1
        assert iacq(None, command, *asked, env=env).exit_code == 2
    assert iacq(None, "plan", "unknown", "-detailed-exitcode", env=env).exit_code == 1
    assert iacq(None, "plan", "unknown", env=env).exit_code == 3


def test_refresh_only_is_drift(iacq):
    client = FakeClient(plan_ends=PLANNED)
    iacq(client, "plan", "net", "-refresh-only")
    iacq(client, "drift", "net")
    assert [asked["run_type"] for asked in client.called("enqueue")] == [RunType.DRIFT, RunType.DRIFT]


def test_a_diagnostic_is_shown_once(iacq):
    logged = {Phase.PLAN: ["│ \033[31mError: \033[0mUnsupported block"]}
    result = iacq(FakeClient(plan_ends=FAILED, logged=logged), "plan", "net")
    assert result.exit_code == 1
    assert (result.stdout + result.stderr).count("Unsupported block") == 1
    assert result.stderr.endswith("Error: run 42 (plan of net) failed\n  Fix:   `iacq show 42` tells more\n")


def test_an_error_that_no_log_shows_is_said(iacq):
    result = iacq(FakeClient(plan_ends=FAILED, logged={}), "plan", "net")
    assert "Unsupported block" in result.stderr


def test_detach_prints_the_id(iacq):
    client = FakeClient()
    result = iacq(client, "apply", "net", "--detach")
    assert (result.exit_code, result.stdout) == (0, "42\n")
    assert json.loads(iacq(client, "plan", "net", "--detach", "--json").stdout)["id"] == 42
    assert client.called("logs") == []


def test_nobody_dispatches_is_a_warning(iacq):
    result = iacq(FakeClient(control=False), "plan", "net", "--detach")
    assert result.exit_code == 0
    assert "Warning: stored; it starts when iacq runs: `iacq up`" in result.stderr


def test_interrupt_detaches(iacq):
    client = FakeClient(logged={Phase.PLAN: ["one", KeyboardInterrupt()]})
    result = iacq(client, "apply", "net")
    assert result.exit_code == 130
    assert result.stdout == "one\n"
    for command in ("iacq logs 42 -f", "iacq confirm 42", "iacq cancel 42"):
        assert command in result.stderr
    assert client.called("cancel") == []


class TestApply:
    def test_without_a_terminal_it_leaves_the_plan(self, iacq):
        client = FakeClient()
        result = iacq(client, "apply", "net", typed="yes\n")
        assert result.exit_code == 0
        assert "1 to add, 0 to change, 2 to destroy" in result.stdout
        assert f"iacq confirm 42 --plan-hash {HASH[:12]}" in result.stdout
        assert client.called("confirm") == client.called("discard") == []

    def test_json_never_asks(self, iacq):
        client = FakeClient()
        result = iacq(client, "apply", "net", "--json", terminal=True, typed="yes\n")
        assert json.loads(result.stdout)["status"] == "apply_pending"
        assert client.called("confirm") == []

    def test_yes_confirms_the_hash_that_was_shown(self, iacq):
        client = FakeClient()
        result = iacq(client, "apply", "net", terminal=True, typed="yes\n")
        assert result.exit_code == 0
        assert 'Do you want to perform these actions in workspace "net"?' in result.stdout
        assert HASH[:12] in result.stdout
        assert client.called("confirm") == [{"plan_hash": HASH, "comment": None}]
        assert result.stdout.endswith("Apply complete!\nStart tier: hot (init was not repeated, about 1.2 s saved)\n")

    @pytest.mark.parametrize("answer", ["no\n", "y\n", "YES\n", "\n"])
    def test_anything_else_discards(self, iacq, answer):
        client = FakeClient()
        result = iacq(client, "apply", "net", terminal=True, typed=answer)
        assert result.exit_code == 1
        assert client.called("discard") == [42]
        assert client.called("confirm") == []

    def test_no_answer_at_all_leaves_the_plan(self, iacq):
        client = FakeClient()
        result = iacq(client, "apply", "net", terminal=True, typed="")
        assert result.exit_code == 130
        assert client.called("discard") == client.called("confirm") == []
        assert "iacq confirm 42" in result.stderr
        assert "iacq discard 42" in result.stderr

    def test_auto_approve_follows_both_phases(self, iacq):
        client = FakeClient()
        result = iacq(client, "apply", "net", "-auto-approve", "--supersede")
        assert result.exit_code == 0
        assert client.called("enqueue")[0]["auto_apply"] is True
        assert client.called("enqueue")[0]["supersede"] is True
        assert [asked["phase"] for asked in client.called("logs")] == [Phase.PLAN, Phase.APPLY]
        assert client.called("confirm") == []

    def test_the_policy_of_the_workspace_is_kept(self, iacq):
        client = FakeClient()
        iacq(client, "apply", "net")
        assert client.called("enqueue")[0]["auto_apply"] is None

    @pytest.mark.parametrize("word", ["-auto-approve=false", "--no-auto-approve"])
    def test_the_policy_of_the_workspace_can_be_overruled(self, iacq, word):
        client = FakeClient()
        iacq(client, "destroy", "net", word)
        assert client.called("enqueue")[0]["auto_apply"] is False

    def test_nothing_to_do_asks_nothing(self, iacq):
        result = iacq(FakeClient(plan_ends=NOTHING), "apply", "net", terminal=True)
        assert result.exit_code == 0
        assert "Do you" not in result.stdout

    def test_a_failed_plan_asks_nothing(self, iacq):
        result = iacq(FakeClient(plan_ends=FAILED), "apply", "net", terminal=True)
        assert result.exit_code == 1
        assert "Do you" not in result.stdout

    def test_destroy_asks_its_own_question(self, iacq):
        client = FakeClient()
        result = iacq(client, "destroy", "net", terminal=True, typed="yes\n")
        assert 'Do you really want to destroy everything in workspace "net"?' in result.stdout
        assert client.called("enqueue")[0]["run_type"] is RunType.DESTROY

    def test_an_interrupted_apply_says_how_to_go_on(self, iacq):
        client = FakeClient(apply_ends={"status": Status.APPLY_INTERRUPTED})
        result = iacq(client, "apply", "net", "--auto-approve")
        assert result.exit_code == 1
        assert "iacq run resolve 42" in result.stderr

    def test_a_cold_start_is_named(self, iacq):
        ends = {"status": Status.APPLIED, "start_tier": StartTier.COLD, "timings": TIMINGS}
        result = iacq(FakeClient(apply_ends=ends), "apply", "net", "--auto-approve")
        assert "Start tier: cold (init was repeated)" in result.stdout


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (WarmupStatus.WARMING, "Warm-up:     being prepared in slot 2 of pod pod-b\n"),
        (WarmupStatus.READY, "Warm-up:     ready in slot 2 of pod pod-b\n"),
        (WarmupStatus.EXPIRED, "Warm-up:     expired; the apply restores what was planned when it starts\n"),
        (WarmupStatus.FAILED, "Warm-up:     failed (2 so far); the apply restores what was planned when it starts\n"),
    ],
)
def test_show_tells_how_far_a_warm_up_is(iacq, status, said):
    fields = {"status": Status.APPLY_PENDING, "warmup_status": status, "warmup_retries": 2}
    client = FakeClient(run=make_run(**fields, prepared_pod_name="pod-b", prepared_slot_id=2))
    assert said in iacq(client, "show", "42").stdout
    assert json.loads(iacq(client, "show", "42", "--json").stdout)["warmup_status"] == status
    assert "Warm-up" not in iacq(FakeClient(), "show", "42").stdout


def test_retry_of_a_change_is_followed_and_asks(iacq):
    client = FakeClient()
    result = iacq(client, "run", "retry", "41", terminal=True, typed="yes\n")
    assert result.exit_code == 0
    assert "Run 42 (plan_and_apply of net) is pending, a retry of run 41\n" in result.stderr
    assert result.stdout.endswith("Apply complete!\nStart tier: hot (init was not repeated, about 1.2 s saved)\n")
    assert client.called("retry") == [{"run_id": 41, "import_state": False, "ignore_state": False}]
    assert client.called("confirm") == [{"plan_hash": HASH, "comment": None}]


def test_retry_of_a_plan_is_followed(iacq):
    client = FakeClient(run=make_run(run_type=RunType.PLAN), plan_ends=PLANNED)
    result = iacq(client, "run", "retry", "41")
    assert (result.exit_code, result.stdout) == (0, "Plan: 1 to add\n")
    assert iacq(FakeClient(plan_ends=FAILED), "run", "retry", "41").exit_code == 1
    assert iacq(FakeClient(), "run", "retry", "41", "--detach").stdout == "42\n"
