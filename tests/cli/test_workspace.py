"""Workspaces: what the options become; secrets never come from the command line."""

import os

import pytest

from tests.cli.fake_client import FakeClient


def created(client: FakeClient):
    return client.called("create_workspace")[0]


def test_create(iacq, tmp_path):
    client = FakeClient()
    words = [
        "--path",
        "src",
        "--var",
        "a=1",
        "--env",
        "B=2",
        "--var-file",
        "f",
        "--plan-expires",
        "3d",
        "--auto-apply",
    ]
    assert iacq(client, "workspace", "create", "net", *words).exit_code == 0
    made, secrets = created(client)
    assert made.path == str(tmp_path / "src")
    assert (made.variables, made.environment, made.pool) == ({"a": "1"}, {"B": "2"}, "default")
    assert made.var_files == (os.path.abspath("f"),)
    assert (made.plan_expires, made.auto_apply) == (259_200_000, True)
    assert secrets == {"secret_variables": {}, "secret_environment": {}}


SOURCES = [
    (["--git", "https://h/x", "--ref", "v1", "--subdir", "a"], {"git": "https://h/x", "ref": "v1", "subdir": "a"}),
    (["--git", "git@h:x", "--ref", "", "--subdir", ""], {"git": "git@h:x"}),
    (["--archive", "a.zip", "--subdir", "b"], {"archive": "HERE/a.zip", "subdir": "b"}),
    (["--path", "src", "--subdir", "b"], {"path": "HERE/src", "subdir": "b"}),
]


@pytest.mark.parametrize(("words", "fields"), SOURCES)
def test_each_kind_of_source(iacq, tmp_path, words, fields):
    client = FakeClient()
    assert iacq(client, "workspace", "create", "net", *words).exit_code == 0
    assert iacq(client, "workspace", "update", "net", *words).exit_code == 0
    none = dict.fromkeys(["path", "archive", "git", "ref", "subdir"])
    expected = none | {name: value.replace("HERE", str(tmp_path)) for name, value in fields.items()}
    made, changes = created(client)[0], client.called("update_workspace")[0]
    assert {name: getattr(made, name) for name in none} == expected
    assert {name: changes[name] for name in none} == expected


def test_update_of_a_ref_alone_keeps_the_repository(iacq):
    client = FakeClient()
    assert iacq(client, "workspace", "update", "net", "--ref", "v2", "--subdir", "").exit_code == 0
    changes = client.called("update_workspace")[0]
    assert (changes["ref"], changes["subdir"]) == ("v2", None)
    assert not {"path", "archive", "git"} & set(changes)


def test_two_sources_are_refused(iacq):
    client = FakeClient()
    result = iacq(client, "workspace", "create", "net", "--path", ".", "--git", "https://h/x")
    assert result.exit_code == 2
    assert "Field: --git" in result.stderr
    assert client.calls == []


def test_secrets_come_from_files_the_environment_and_stdin(iacq, tmp_path):
    (tmp_path / "file").write_text("one\n\n")
    client = FakeClient()
    words = ["--secret-var", "a=@file", "--secret-var", "b=env:SOME_TOKEN", "--secret-env", "C=-", "--secret-env"]
    words.append("D=@file")
    result = iacq(
        client,
        "workspace",
        "create",
        "net",
        "--path",
        ".",
        *words,
        typed="three\n",
        env={"SOME_TOKEN": "two"},
    )
    assert result.exit_code == 0
    assert created(client)[1] == {
        "secret_variables": {"a": "one\n", "b": "two"},
        "secret_environment": {"C": "three", "D": "one\n"},
    }


@pytest.mark.parametrize("option", ["--secret-var", "--secret-env"])
@pytest.mark.parametrize("given", ["a=hush", "a=@hush-file", "a=env:HUSH", "a"])
def test_other_secrets_are_refused(iacq, option, given):
    client = FakeClient()
    result = iacq(client, "workspace", "create", "net", "--path", ".", option, given)
    assert result.exit_code == 2
    assert f"Field: {option}" in result.stderr
    assert "=hush" not in result.stderr
    assert client.calls == []


def test_standard_input_gives_one_value(iacq):
    client = FakeClient()
    words = ["--secret-var", "a=-", "--secret-env", "b=-"]
    result = iacq(client, "workspace", "create", "net", "--path", ".", *words)
    assert (result.exit_code, client.calls) == (2, [])
    assert "Field: --secret-env" in result.stderr


def test_update_changes_what_is_given_only(iacq):
    client = FakeClient()
    assert iacq(client, "workspace", "update", "net", "--var", "b=2", "--no-auto-apply").exit_code == 0
    assert client.called("update_workspace") == [
        {
            "secret_variables": {},
            "secret_environment": {},
            "remove_secrets": (),
            "auto_apply": False,
            "variables": {"a": "1", "b": "2"},
            "environment": {},
        }
    ]


def test_a_version_of_terraform_and_the_default_again(iacq):
    client = FakeClient()
    for text in ("1.5.7", "default"):
        assert iacq(client, "workspace", "update", "net", "--terraform-version", text).exit_code == 0
    assert [call["terraform_version"] for call in client.called("update_workspace")] == ["1.5.7", None]
    assert iacq(client, "workspace", "create", "net", "--path", ".", "--terraform-version", "1.0.3").exit_code == 0
    assert created(client)[0].terraform_version == "1.0.3"


def test_update_forgets_variables(iacq):
    client = FakeClient()
    assert iacq(client, "workspace", "update", "net", "--unset-var", "a").exit_code == 0
    assert client.called("update_workspace")[0]["variables"] == {}
    assert iacq(client, "workspace", "update", "net", "--unset-var", "z").exit_code == 2


def test_update_forgets_secrets(iacq):
    client = FakeClient()
    words = ["--remove-secret", "a", "--remove-secret", "B"]
    result = iacq(client, "workspace", "update", "net", *words)
    assert result.exit_code == 0
    assert client.called("update_workspace")[0]["remove_secrets"] == ("a", "B")
    assert "The old value of B is not hidden any more" in result.stderr


def test_outputs_hide_what_is_sensitive_until_it_is_named(iacq):
    assert iacq(FakeClient(), "output", "net").stdout == 'name = "x"\ntoken = <sensitive>\n'
    assert iacq(FakeClient(), "output", "net", "token").stdout == '"hush"\n'
    assert iacq(FakeClient(), "output", "net", "nope").exit_code == 3
