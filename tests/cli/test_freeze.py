"""`iacq freeze` against a real database."""

import contextlib
import json

import pytest

from iacq.cli.demo import copy_example
from iacq.domain.pool import PoolPolicy
from iacq.store import pools
from iacq.store.session import Database

NIGHTS = ["--name", "nights", "--days", "mon-fri", "--from", "23:00", "--to", "02:00", "--tz", "Europe/Berlin"]


@pytest.fixture(autouse=True)
def pool(iacq, home):
    assert iacq(None, "db", "upgrade").exit_code == 0
    with contextlib.closing(Database(f"sqlite:///{home / 'iacq.db'}")) as database:
        for name in ("default", "gpu"):
            database.run(pools.set_policy, name, PoolPolicy(max_pods=1))


def listed(iacq, pool="default"):
    return json.loads(iacq(None, "freeze", "list", pool, "--json").stdout)[0]


def test_windows(iacq):
    added = iacq(None, "freeze", "add", "default", *NIGHTS)
    assert added.exit_code == 0, added.stderr
    assert "(window nights)" in added.stdout
    once = ["--at", "2100-12-24 18:00", "--until", "2100-12-27T06:00Z", "--tz", "Europe/Berlin"]
    assert iacq(None, "freeze", "add", "default", *once).exit_code == 0
    text = iacq(None, "freeze", "list").stdout
    assert "nights: mon-fri 23:00 to 02:00 Europe/Berlin" in text
    assert "window-1: Fri 2100-12-24 18:00 Europe/Berlin to Mon 2100-12-27 07:00 Europe/Berlin" in text
    assert "gpu: not frozen\n" in text
    shown = listed(iacq)
    assert [window["name"] for window in shown["windows"]] == ["nights", "window-1"]
    assert shown["windows"][0]["from"] == "23:00"
    assert shown["windows"][1]["at"] == "2100-12-24T17:00:00.000Z"
    ahead = json.loads(iacq(None, "freeze", "preview", "default", "--json").stdout)
    assert 4 <= len(ahead["intervals"]) <= 6
    assert "frozen from " in iacq(None, "freeze", "preview", "default").stdout
    assert iacq(None, "freeze", "remove", "default", "nights").exit_code == 0
    assert iacq(None, "freeze", "remove", "default", "nights").exit_code == 3


def test_by_hand(iacq, tmp_path):
    copy_example(tmp_path / "src")
    assert iacq(None, "workspace", "create", "net", "--path", "src").exit_code == 0
    assert iacq(None, "plan", "net", "--detach").exit_code == 0
    frozen = iacq(None, "freeze", "now", "--all", "--until", "2h", "--reason", "incident 42", env={"IACQ_ACTOR": "eve"})
    assert frozen.exit_code == 0, frozen.stderr
    assert [line.split(" until ")[0] for line in frozen.stdout.splitlines()] == ["default: frozen", "gpu: frozen"]
    assert "(by eve: incident 42)" in frozen.stdout
    assert "pool default: frozen until " in iacq(None, "queue").stdout
    assert json.loads(iacq(None, "show", "1", "--json").stdout)["waiting"]["code"] == "frozen_until"
    assert "It can go on from " in iacq(None, "freeze", "preview", "--run", "1").stdout
    bypassed = iacq(None, "freeze", "bypass", "default", "--until", "30m", "--reason", "hotfix")
    assert bypassed.stdout.startswith("default: not frozen: bypassed by ")
    assert iacq(None, "freeze", "lift", "gpu", "--reason", "over").stdout == "gpu: not frozen\n"
    assert iacq(None, "freeze", "lift", "gpu", "--reason", "over").exit_code == 4
    assert iacq(None, "freeze", "lift", "--all", "--reason", "over").stdout.startswith("default: not frozen")
    assert iacq(None, "freeze", "lift", "--all", "--reason", "over").exit_code == 4
    assert "incident 42" in iacq(None, "freeze", "list", "default").stdout
    events = [(event["action"], event["by"]) for event in listed(iacq, "gpu")["events"]]
    me = events[2][1]
    assert events == [("frozen_by_hand", "eve"), ("entered", None), ("lifted", me), ("left", None)]


@pytest.mark.parametrize(
    ("code", "field", "words"),
    [
        (2, "--tz", ["add", "default", *NIGHTS[:-1], "Mars/Base"]),
        (2, "--to", ["add", "default", *NIGHTS, "--to", "23:00"]),
        (2, "--days", ["add", "default", *NIGHTS, "--days", "moonday"]),
        (2, "--from", ["add", "default", *NIGHTS, "--from", "25:00"]),
        (2, "--tz", ["add", "default", *NIGHTS[:-2]]),
        (2, "--until", ["now", "default", "--reason", "x", "--until", "yesterday"]),
        (2, "pool", ["now", "--reason", "x"]),
        (2, "pool", ["now", "default", "--all", "--reason", "x"]),
        (2, "pool", ["preview"]),
        (3, "pool", ["add", "nowhere", *NIGHTS]),
        (3, "pool", ["now", "nowhere", "--reason", "x"]),
        (3, "pool", ["list", "nowhere"]),
        (3, "run", ["preview", "--run", "7"]),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else None,
)
def test_bad_input_changes_nothing(iacq, code, field, words):
    before = listed(iacq)
    result = iacq(None, "freeze", *words, "--json")
    assert result.exit_code == code, result.stdout
    assert json.loads(result.stdout)["error"]["field"] == field
    assert listed(iacq) == before
