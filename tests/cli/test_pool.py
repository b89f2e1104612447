"""`iacq pool` and `iacq scale`, against a real database."""

import json

import pytest


def test_a_pool_from_its_creation_to_its_end(iacq, home, tmp_path):
    template = tmp_path / "template.json"
    template.write_text('{"environment": {"REGION": "eu"}}')
    words = ("--min", "1", "--max", "4", "--slots", "2", "--headroom", "1", "--idle-grace", "10m")
    made = iacq(None, "pool", "create", "build", *words, "--template", str(template))
    assert (made.exit_code, made.stdout.split(".")[0]) == (0, "Pool build was created")
    shown = json.loads(iacq(None, "pool", "show", "build", "--json").stdout)
    assert (shown["min_pods"], shown["max_pods"], shown["slots_per_pod"], shown["headroom"]) == (1, 4, 2, 1)
    assert (shown["idle_grace_ms"], shown["generation"]) == (600_000, 1)
    assert shown["template"] == {"environment": {"REGION": "eu"}}
    assert "REGION=eu" in iacq(None, "pool", "show", "build").stdout
    assert "1 to 4 pods of 2 slots" in iacq(None, "pool", "show", "build").stdout
    assert iacq(None, "pool", "update", "build", "--max", "6").exit_code == 0
    assert json.loads(iacq(None, "pool", "roll", "build", "--json").stdout)["generation"] == 2
    [row] = [line.split() for line in iacq(None, "pool", "list").stdout.splitlines()[1:]]
    assert row[:3] == ["build", "1", "6"]
    assert iacq(None, "pool", "delete", "build").exit_code == 0
    assert iacq(None, "pool", "show", "build").exit_code == 3


def test_a_template_of_a_cluster_is_yaml(iacq, home, tmp_path):
    template = tmp_path / "template.yaml"
    template.write_text("environment: {REGION: eu}\nspec:\n  nodeSelector: {disk: fast}\n")
    assert iacq(None, "pool", "create", "build", "--template", str(template)).exit_code == 0
    shown = json.loads(iacq(None, "pool", "show", "build", "--json").stdout)
    assert shown["template"] == {"environment": {"REGION": "eu"}, "spec": {"nodeSelector": {"disk": "fast"}}}
    assert "spec of a template (--json shows it)" in iacq(None, "pool", "show", "build").stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("create", "x", "--min", "3", "--max", "2"), 2, "--min 3 is above --max 2"),
        (("create", "x", "--slots", "0"), 2, "--slots is 0"),
        (("create", "x", "--max", "many"), 2, "many"),
        (("create", "x", "--idle-grace", "soon"), 2, "--idle-grace"),
        (("create", "x", "--template", "nowhere.json"), 2, "nowhere.json"),
        (("create", "x", "--template", "list.yaml"), 2, "--template is an object, not a list"),
        (("create", "x", "--template", "grace.yaml"), 2, "the template sets spec.terminationGracePeriodSeconds"),
        (("create", "a/b"), 2, "not a valid name"),
        (("create", "build"), 4, "there is a pool build already"),
        (("update", "nowhere", "--max", "2"), 3, "no pool nowhere"),
        (("roll", "nowhere"), 3, "no pool nowhere"),
        (("delete", "nowhere"), 3, "no pool nowhere"),
        (("delete", "build"), 4, "pool build has workspaces: net"),
    ],
)
def test_what_is_refused_changes_nothing(iacq, home, tmp_path, monkeypatch, words, code, said):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.tf").write_text("")
    (tmp_path / "list.yaml").write_text("- spec: {}")
    (tmp_path / "grace.yaml").write_text("spec: {terminationGracePeriodSeconds: 5}")
    monkeypatch.chdir(tmp_path)
    assert iacq(None, "pool", "create", "build").exit_code == 0
    assert iacq(None, "workspace", "create", "net", "--path", "src", "--pool", "build").exit_code == 0
    before = iacq(None, "pool", "list", "--json").stdout
    result = iacq(None, "pool", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.count("Error:") == 1
    assert said in result.stderr
    assert iacq(None, "pool", "list", "--json").stdout == before


def test_why_a_pool_has_its_size(iacq, home):
    assert iacq(None, "scale", "nowhere").exit_code == 3
    assert iacq(None, "pool", "create", "build", "--min", "2", "--max", "2").exit_code == 0
    assert iacq(None, "scale", "build").stdout.split(":")[0] == "result"
    told = iacq(None, "scale", "build", "--explain").stdout
    assert "desired = ceil((0 queue_depth" in told
    assert "the minimum is 2" in told
    found = json.loads(iacq(None, "scale", "build", "--json").stdout)
    assert (found["desired"], found["create"], found["limit"]) == (2, 2, "min")
    assert [reason["code"] for reason in found["reasons"]][:: len(found["reasons"]) - 1] == ["rule", "result"]
