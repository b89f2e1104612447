"""show, logs, confirm, discard, cancel."""

import json

import pytest

from iacq.domain.run import Changes, Phase, Status
from tests.cli.fake_client import HASH, FakeClient, make_run

PENDING = make_run(status=Status.APPLY_PENDING, plan_hash=HASH, changes=Changes(add=1, change=0, destroy=2))


class TestConfirm:
    def test_without_a_terminal_it_needs_the_hash(self, iacq):
        client = FakeClient(run=PENDING)
        result = iacq(client, "confirm", "42", typed="yes\n")
        assert result.exit_code == 2
        assert "Field: --plan-hash" in result.stderr
        assert client.called("confirm") == []

    @pytest.mark.parametrize(("words", "sent"), [(["--yes"], HASH), (["--plan-hash", "abc"], "abc")])
    def test_with_the_hash_or_yes_it_asks_nothing(self, iacq, words, sent):
        client = FakeClient(run=PENDING)
        result = iacq(client, "confirm", "42", *words, "--comment", "fine")
        assert result.exit_code == 0
        assert client.called("confirm") == [{"plan_hash": sent, "comment": "fine"}]
        assert client.called("logs") == []

    def test_on_a_terminal_it_shows_and_asks(self, iacq):
        client = FakeClient(run=PENDING)
        result = iacq(client, "confirm", "42", terminal=True, typed="yes\n")
        assert result.exit_code == 0
        assert "workspace net: 1 to add, 0 to change, 2 to destroy" in result.stdout
        assert HASH in result.stdout
        assert client.called("confirm") == [{"plan_hash": HASH, "comment": None}]

    def test_no_leaves_the_plan(self, iacq):
        client = FakeClient(run=PENDING)
        result = iacq(client, "confirm", "42", terminal=True, typed="no\n")
        assert result.exit_code == 1
        assert client.called("confirm") == client.called("discard") == []

    def test_follow(self, iacq):
        client = FakeClient(run=PENDING)
        result = iacq(client, "confirm", "42", "--yes", "-f")
        assert result.exit_code == 0
        assert result.stdout.startswith("Apply complete!\n")

    def test_what_never_waited_is_a_conflict(self, iacq):
        assert iacq(FakeClient(), "confirm", "42").exit_code == 4


def test_show_plan_has_no_colours_in_a_pipe(iacq):
    assert iacq(FakeClient(run=PENDING), "show", "42", "--plan").stdout == "+ terraform_data.a\n"


def test_show_says_how_to_confirm(iacq):
    result = iacq(FakeClient(run=PENDING), "show", "42")
    assert result.exit_code == 0
    assert f"iacq confirm 42 --plan-hash {HASH[:12]}" in result.stdout


def test_show_of_a_failed_run_is_0(iacq):
    run = make_run(status=Status.FAILED, error_code="terraform", error_text="Error: no\nmore")
    result = iacq(FakeClient(run=run), "show", "42")
    assert result.exit_code == 0
    assert "Error: no\nmore (terraform)" in result.stdout


def test_what_others_wrote_cannot_steer_the_terminal(iacq):
    run = make_run(message="\033]0;title\007\033[2Jhi")
    assert "\033" not in iacq(FakeClient(run=run), "show", "42").stdout
    assert "?" in iacq(FakeClient(run=run), "runs").stdout


def test_logs(iacq):
    logged = {Phase.PLAN: ["\033[1mone\033[0m", "two"], Phase.APPLY: ["three"]}
    client = FakeClient(logged=logged)
    assert iacq(client, "logs", "42").stdout == "one\ntwo\nthree\n"
    lines = iacq(client, "logs", "42", "--json", "--phase", "apply", "--offset", "7", "-f").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"phase": "apply", "offset": 13, "text": "three"}]
    assert client.called("logs")[-1] == {"phase": "apply", "offset": 7, "follow": True}


def test_logs_interrupted_detach(iacq):
    client = FakeClient(logged={Phase.PLAN: [KeyboardInterrupt()]})
    assert iacq(client, "logs", "42", "-f").exit_code == 130


@pytest.mark.parametrize(("word", "status"), [("discard", "discarded"), ("cancel", "cancelled")])
def test_discard_and_cancel(iacq, word, status):
    assert iacq(FakeClient(run=PENDING), word, "42").stdout == f"Run 42 is {status}\n"
    assert json.loads(iacq(FakeClient(run=PENDING), "run", word, "42", "--json").stdout)["status"] == status


def test_runs(iacq):
    client = FakeClient(run=PENDING)
    result = iacq(client, "runs", "--status", "apply_pending", "--limit", "3")
    assert "+1 ~0 -2" in result.stdout
    assert client.called("list") == [{"workspace": None, "status": ("apply_pending",), "limit": 3}]
    assert [run["id"] for run in json.loads(iacq(client, "run", "list", "--json").stdout)] == [42]
