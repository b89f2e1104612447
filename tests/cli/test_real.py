"""The command line against a real database, without a broker and without any other process of iacq."""

import base64
import json
import os
import pathlib
import pty
import re
import stat
import subprocess
import sys

import pytest
import sqlalchemy as sa

from iacq.cli.demo import copy_example
from iacq.domain import versions
from iacq.store.session import Database
from tests.cli import fake_client
from tests.waiting import wait_until


@pytest.fixture
def network(iacq, tmp_path):
    copy_example(tmp_path / "src")
    result = iacq(None, "workspace", "create", "net", "--path", "src")
    assert result.exit_code == 0, result.stderr


def test_a_first_command_makes_a_private_home(iacq, network, home):
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "keys").stat().st_mode) == 0o600
    assert iacq(None, "db", "check").exit_code == 0


def test_runs_are_stored_without_anybody_to_run_them(iacq, network):
    result = iacq(None, "plan", "net", "--detach")
    assert (result.exit_code, result.stdout) == (0, "1\n")
    assert "Warning: stored" in result.stderr
    assert "no control worker" in iacq(None, "queue").stdout
    shown = json.loads(iacq(None, "show", "1", "--json").stdout)
    assert shown["waiting"]["code"] == "no_control"
    assert [event["to"] for event in shown["events"]] == ["pending"]
    assert iacq(None, "cancel", "1").stdout == "Run 1 is cancelled\n"
    assert iacq(None, "cancel", "1").exit_code == 4
    assert iacq(None, "confirm", "1").exit_code == 4
    assert iacq(None, "logs", "1").stdout == ""
    assert iacq(None, "queue").stderr == "Nothing waits and nothing runs.\n"


@pytest.mark.parametrize("name", ["../x", "a/b", "x" * 300, "a\x07b", ""])
def test_bad_names_are_refused(iacq, network, name):
    result = iacq(None, "plan", "--", name)
    assert result.exit_code == 2
    assert "\x07" not in result.stderr


def test_unknown_things_are_not_found(iacq, network):
    for words in (["plan", "nowhere"], ["show", "9"], ["output", "nowhere"], ["state", "list", "nowhere"]):
        assert iacq(None, *words).exit_code == 3, words


def test_workspaces(iacq, network):
    assert iacq(None, "workspace", "create", "net", "--path", "src").exit_code == 4
    assert iacq(None, "workspace", "create", "other", "--path", "nope").exit_code == 2
    assert iacq(None, "workspace", "lock", "net", "--reason", "audit").exit_code == 0
    assert json.loads(iacq(None, "workspace", "show", "net", "--json").stdout)["locked_reason"] == "audit"
    assert iacq(None, "workspace", "lock", "net", "--reason", "mine").exit_code == 4
    assert iacq(None, "workspace", "unlock", "net").exit_code == 0
    assert iacq(None, "workspace", "delete", "net").exit_code == 0
    assert iacq(None, "workspace", "list").stderr.startswith("No workspaces.")


def test_a_database_that_is_away_is_5(iacq):
    address = {"IACQ_DATABASE_URL": "postgresql://nobody:hush@127.0.0.1:1/none"}
    result = iacq(None, "runs", env=address)
    assert result.exit_code == 5
    assert "IACQ_DATABASE_URL" in result.stderr
    assert "hush" not in result.stderr


def test_a_bad_setting_is_named(iacq):
    result = iacq(None, "runs", env={"IACQ_LEASE": "soon"})
    assert result.exit_code == 2
    assert "Field: IACQ_LEASE" in result.stderr


def test_settings_hide_secrets(iacq):
    given = {"IACQ_DATABASE_URL": "postgresql://u:hush@h/d", "IACQ_LEASE": "1m"}
    result = iacq(None, "settings", "--json", env=given)
    found = {entry["name"]: entry for entry in json.loads(result.stdout)}
    assert found["IACQ_DATABASE_URL"]["value"] == "***"
    assert (found["IACQ_LEASE"]["value"], found["IACQ_LEASE"]["source"]) == (60.0, "environment")
    assert all(entry["meaning"] for entry in found.values())
    shown = iacq(None, "settings", env=given).output
    assert "hush" not in shown
    assert re.search(r"IACQ_PLAN_EXPIRES +7d ", shown)
    assert re.search(r"IACQ_LEASE +1m ", shown)


def test_db(iacq):
    result = iacq(None, "db", "check")
    assert result.exit_code == 5
    assert "iacq db upgrade" in result.stderr
    assert "CREATE TABLE" in iacq(None, "db", "upgrade", "--sql").stdout
    assert iacq(None, "db", "upgrade").exit_code == 0
    found = json.loads(iacq(None, "db", "check", "--json").stdout)
    assert found == {
        "current": True,
        "version": "0001",
        "missing": [],
        "foreign_rows": 0,
        "protocol": versions.PROTOCOL,
        "demanded_protocol": versions.PROTOCOL,
        "upgrade_over": True,
    }
    result = iacq(None, "db", "upgrade", "--sql")
    assert (result.stdout, "nothing to do" in result.stderr) == ("", True)


def test_a_damaged_database_is_named_with_what_repairs_it(iacq, network, home):
    database = Database(f"sqlite:///{home}/iacq.db")
    with database.transaction() as tx:
        tx.execute(sa.text("DROP INDEX uq_iacq_one_active_run"))
    database.close()
    result = iacq(None, "db", "check")
    assert result.exit_code == 5
    assert "lacks what an upgrade made: index uq_iacq_one_active_run" in result.stderr
    assert "CREATE UNIQUE INDEX uq_iacq_one_active_run" in result.stderr


def test_db_check_restored(iacq, network):
    assert iacq(None, "plan", "net", "--detach").exit_code == 0
    assert iacq(None, "apply", "net", "--auto-approve", "--detach").exit_code == 0
    assert iacq(None, "db", "check", "--force").exit_code == 2
    result = iacq(None, "db", "check", "--restored")
    assert result.exit_code == 0
    assert "2    net        pending  pending  is planned anew and waits for a confirmation" in result.stdout
    assert "ids greater than 1000002" in result.stdout
    shown = json.loads(iacq(None, "show", "2", "--json").stdout)
    assert shown["auto_apply"] is False
    event = {key: shown["events"][-1][key] for key in ("from", "to", "cause")}
    assert event == {"from": "pending", "to": "pending", "cause": "restored"}
    found = json.loads(iacq(None, "db", "check", "--restored", "--json").stdout)
    assert found["runs"][0] == {"id": 1, "workspace": "net", "task_type": "plan", "was": "pending", "is": "pending"}
    assert (found["states"], found["ids_after"]) == ([], 2_000_002)


def test_retry(iacq, network):
    iacq(None, "plan", "net", "--var", "size=2", "--detach")
    assert iacq(None, "run", "retry", "1").exit_code == 4
    iacq(None, "cancel", "1")
    result = iacq(None, "run", "retry", "1", "--detach")
    assert (result.exit_code, result.stdout) == (0, "2\n")
    assert "Run 2 (plan of net) is pending, a retry of run 1" in result.stderr
    assert "Retry of:    run 1" in iacq(None, "show", "2").stdout
    assert json.loads(iacq(None, "show", "2", "--json").stdout)["retry_of"] == 1
    assert iacq(None, "run", "retry", "9").exit_code == 3


def test_a_wrong_key_is_said_at_once_and_keys_are_changed(iacq, network):
    """Keys are changed by giving both, sealing all anew, and giving up the old one."""
    kept = pathlib.Path(os.environ["IACQ_HOME"], "keys").read_text().splitlines()[-1]
    new = base64.b64encode(bytes(32)).decode()
    wrong = {"IACQ_ENCRYPTION_KEYS": new}
    for words in (["plan", "net"], ["worker", "agent", "--pod-name", "a"], ["worker", "control"], ["db", "upgrade"]):
        result = iacq(None, *words, env=wrong)
        assert (result.exit_code, result.stderr.count("Error:")) == (2, 1), words
        assert "Field: IACQ_ENCRYPTION_KEYS" in result.stderr
        assert "is not here" in result.stderr
        assert new not in result.output
    doctor = json.loads(iacq(None, "doctor", "--json", env=wrong).stdout)["checks"]
    assert [check["name"] for check in doctor if "encryption keys" in check["text"]] == ["keys"]
    assert iacq(None, "runs", env=wrong).exit_code == 0
    assert iacq(None, "plan", "net", "--detach").exit_code == 0
    both = {"IACQ_ENCRYPTION_KEYS": f"{new},{kept}"}
    tallies = json.loads(iacq(None, "db", "reencrypt", "--json", env=both).stdout)
    assert {tally["kind"]: tally["rewritten"] for tally in tallies}["artifacts"] == 2
    assert iacq(None, "db", "reencrypt", env=both).stdout.startswith("artifacts: 2 looked at, 0 sealed anew\n")
    assert iacq(None, "plan", "net", "--detach", env=wrong).exit_code == 0
    assert iacq(None, "plan", "net", "--detach").exit_code == 2


def test_doctor_without_a_system_is_5_and_says_what_to_do(iacq, network):
    result = iacq(None, "doctor", "--json")
    assert result.exit_code == 5
    found = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert found["terraform"]["ok"]
    assert found["database"]["ok"]
    for name in ("broker", "control", "pods"):
        assert not found[name]["ok"]
        assert "iacq up" in found[name]["hint"]


def test_a_group_without_a_command_shows_its_help(iacq):
    for words in ([], ["run"], ["freeze"]):
        result = iacq(None, *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("Usage: iacq")


def test_nothing_is_frozen_where_there_is_no_pool(iacq):
    result = iacq(None, "freeze", "now", "--all", "--reason", "incident")
    assert result.exit_code == 3
    assert "iacq pool create" in result.stderr


def test_doctor_knows_that_pods_come_when_they_are_needed(iacq, network):
    def pods() -> dict[str, object]:
        return {one["name"]: one for one in json.loads(iacq(None, "doctor", "--json").stdout)["checks"]}["pods"]

    assert "iacq pool create" in str(pods()["hint"])
    assert iacq(None, "pool", "create", "default", "--min", "0", "--max", "2").exit_code == 0
    assert pods()["ok"]
    assert iacq(None, "pool", "update", "default", "--min", "1").exit_code == 0
    assert not pods()["ok"]


def test_doctor_does_not_look_for_terraform_where_pods_are_those_of_a_cluster(iacq):
    result = iacq(None, "doctor", "--json", env={"IACQ_POD_RUNTIME": "kubernetes", "IACQ_KUBECONFIG": "/no/config"})
    assert "terraform" not in {check["name"] for check in json.loads(result.stdout)["checks"]}


def test_doctor_finds_a_missing_terraform(iacq):
    result = iacq(None, "doctor", env={"IACQ_TERRAFORM": "/no/terraform"})
    assert result.exit_code == 5
    assert "failed  terraform" in result.stdout


def test_doctor_says_what_terraform_will_see(iacq, home, tmp_path):
    """Names of variables, never their values."""
    (tmp_path / "authority.pem").write_text("no certificate")
    (tmp_path / "user" / ".terraformrc").write_text(
        'provider_installation {\n  network_mirror {\n    url = "https://u:hush@m/"\n  }\n}\n'
    )
    program = tmp_path / "versions" / "1.5.7" / "tofu"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho OpenTofu v1.5.7\n")
    program.chmod(0o755)
    given = {
        "AWS_SECRET_ACCESS_KEY": "hush",
        "SSL_CERT_FILE": str(tmp_path / "authority.pem"),
        "TF_CLI_CONFIG_FILE": "/no/rc",
        "IACQ_TERRAFORM_VERSIONS": str(tmp_path / "versions"),
        "IACQ_PROVIDER_SOURCE": str(tmp_path / "nowhere"),
    }
    result = iacq(None, "doctor", "--json", env=given)
    found = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert "AWS_SECRET_ACCESS_KEY" in found["environment"]["text"]
    assert "IACQ_" not in found["environment"]["text"]
    assert "hush" not in result.stdout
    assert found["versions"]["text"] == f"1.5.7 in {tmp_path / 'versions'}"
    assert str(tmp_path / "user" / ".terraformrc") in found["cli_config"]["text"]
    assert "TF_CLI_CONFIG_FILE names /no/rc, which is not there" in found["cli_config"]["text"]
    assert not found["ca_files"]["ok"]
    assert "SSL_CERT_FILE names" in found["ca_files"]["text"]
    assert "IACQ_PROVIDER_SOURCE" in found["providers"]["text"]
    found = iacq(None, "doctor", env={**given, "SSL_CERT_FILE": "", "IACQ_PROVIDER_SOURCE": ""})
    assert "0 packages in" in found.stdout
    assert ", then the mirror m\n" in found.stdout
    assert "failed  ca_files" not in found.stdout
    program.write_text("#!/bin/sh\necho OpenTofu v1.6.0\n")
    assert "failed  versions" in iacq(None, "doctor", env=given).stdout


def test_doctor_wants_git_when_a_workspace_does(iacq, tmp_path, monkeypatch, network):
    def git() -> dict[str, object]:
        return {one["name"]: one for one in json.loads(iacq(None, "doctor", "--json").stdout)["checks"]}["git"]

    assert git()["text"].startswith("2.")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert git()["ok"]
    assert iacq(None, "workspace", "create", "fetched", "--git", "https://h/x").exit_code == 0
    missing = git()
    assert not missing["ok"]
    assert "workspace fetched needs it" in missing["text"]
    assert "install git" in missing["hint"]


def test_what_a_workspace_is_made_of_is_shown(iacq, network):
    url = "https://host/net.git"
    assert iacq(None, "workspace", "create", "g", "--git", url, "--ref", "v1", "--subdir", "./prod/").exit_code == 0
    shown = iacq(None, "workspace", "show", "g").stdout
    for line in (f"Git:          {url}", "Ref:          v1", "Subdir:       prod"):
        assert line in shown
    assert f"{url} at v1, in prod" in iacq(None, "workspace", "list").stdout
    found = json.loads(iacq(None, "workspace", "show", "g", "--json").stdout)
    assert [found[key] for key in ("path", "archive", "git", "ref", "subdir")] == [None, None, url, "v1", "prod"]
    assert iacq(None, "workspace", "update", "g", "--path", "src").exit_code == 0
    found = json.loads(iacq(None, "workspace", "show", "g", "--json").stdout)
    assert [found[key] for key in ("archive", "git", "ref", "subdir")] == [None] * 4
    refused = iacq(None, "workspace", "update", "g", "--git", "https://bob:hunter2@host/x", "--json")
    assert refused.exit_code == 2
    assert json.loads(refused.stdout)["error"]["field"] == "--git"
    assert "hunter2" not in refused.stdout + refused.stderr
    assert iacq(None, "workspace", "create", "none").exit_code == 2


TERMINAL = """
import sys
from iacq.cli import cli
from iacq.cli.app import App
from iacq.domain.run import Phase
from tests.cli.fake_client import FakeClient
logged = {Phase.PLAN: ["\\033[32mgreen\\033[0m"], Phase.APPLY: ["done"]}
client = FakeClient(logged=logged, waits=["behind run 41"])
cli.main(["apply", "net"], obj=App(connect=lambda settings: client))
"""


def test_on_a_real_terminal_it_asks_in_colour(home):
    ours, theirs = pty.openpty()
    root = os.path.dirname(os.path.dirname(os.path.dirname(fake_client.__file__)))
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": root, "COLUMNS": "60"},
    )
    os.close(theirs)
    said = b""

    def asked() -> bool:
        nonlocal said
        said += os.read(ours, 4096)
        return b"Enter a value: " in said

    try:
        wait_until(asked, what="the question")
        os.write(ours, b"yes\n")
        while rest := _more(ours):
            said += rest
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"Start tier: hot" in said
    assert b"\x1b[32mgreen" in said
    assert b"\r\x1b[KRun 42: behind run 41" in said  # one line that changes


def _more(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # EIO: the other end is closed
        return b""


def test_a_state_is_pushed_and_pulled(iacq, network, tmp_path):
    file = tmp_path / "some.tfstate"
    file.write_text(json.dumps({"version": 4, "serial": 3, "lineage": "a"}))
    pushed = iacq(None, "state", "push", "net", str(file))
    assert pushed.stdout == "Version 1 of workspace net: serial 3, 0 resources\n", pushed.stderr
    assert iacq(None, "state", "pull", "net").stdout == file.read_text()
    file.write_text(json.dumps({"version": 4, "serial": 2, "lineage": "a"}))
    refused = iacq(None, "state", "push", "net", str(file))
    assert refused.exit_code == 4
    assert "--force --reason" in refused.stderr
    assert iacq(None, "state", "push", "net", str(file), "--force").exit_code == 2
    forced = iacq(None, "state", "push", "net", str(file), "--force", "--reason", "rolled back", "--json")
    assert (json.loads(forced.stdout)["version"], json.loads(forced.stdout)["reason"]) == (2, "rolled back")
    assert iacq(None, "state", "push", "net", "-").exit_code == 2  # nothing on standard input
    assert iacq(None, "state", "push", "net", str(tmp_path / "absent")).exit_code == 2
    assert iacq(None, "state", "push", "nowhere", str(file)).exit_code == 3


def test_unlocking_says_who_holds_the_state(iacq, network):
    assert "Nothing holds the state" in iacq(None, "state", "unlock", "net").stdout
    assert json.loads(iacq(None, "state", "unlock", "net", "--json").stdout) == {"workspace": "net", "run": None}
    assert iacq(None, "state", "unlock", "net", "--force").exit_code == 2
    assert iacq(None, "state", "unlock", "nowhere").exit_code == 3


def test_an_errored_state_that_is_not_there(iacq, network):
    iacq(None, "plan", "net", "--detach")
    assert iacq(None, "state", "pull", "net", "--errored", "1").exit_code == 3
    assert iacq(None, "state", "pull", "net", "--errored", "1", "--version", "1").exit_code == 2
