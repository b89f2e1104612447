"""Bad input is refused with the reason, and changes nothing."""

import dataclasses
import os
import time

import pytest

from iacq.client import Client
from iacq.domain.run import Status
from iacq.errors import Conflict, IacqError, InvalidInput, NotFound, Unavailable
from tests.acceptance import configurations
from tests.acceptance.system import System
from tests.waiting import at_most


@pytest.fixture
def path(tmp_path):
    return configurations.write(tmp_path / "it", configurations.COUNTED)


def refused(error: pytest.ExceptionInfo[IacqError]) -> str:
    """Return the message, which is one line for people."""
    assert "Traceback" not in error.value.message
    return error.value.message


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "a\nb", "a\0b", "ä", "-a", "x" * 51, "x" * 300])
def test_names_that_cannot_be_paths(system: System, path, name):
    with pytest.raises(InvalidInput, match="is not a valid name"):
        system.workspace(name, path)
    with pytest.raises((InvalidInput, NotFound)):
        system.client.enqueue(name, "plan")
    assert not system.client.workspaces()


def test_what_is_not_there(system: System, path):
    with pytest.raises(NotFound, match="nowhere"):
        system.client.enqueue("nowhere", "plan")
    for call in (system.client.get, system.client.cancel, system.client.discard):
        with pytest.raises(NotFound, match="no run 999999"):
            call(999999)
    with pytest.raises(NotFound):
        system.client.confirm(999999, plan_hash="0" * 64)
    with pytest.raises(NotFound):
        list(system.client.logs(999999))


def test_sources_that_cannot_be_used(system: System, tmp_path):
    (tmp_path / "empty").mkdir()
    for name, message in (("empty", "no .*tf"), ("absent", "absent")):
        with pytest.raises(InvalidInput, match=message):
            system.workspace(name, tmp_path / name)
    big = configurations.write(tmp_path / "big", configurations.COUNTED)
    system.workspace("big", big)
    (big / "blob").write_bytes(os.urandom(system.settings.max_source + 1))
    with pytest.raises(InvalidInput, match="MiB"):
        system.client.enqueue("big", "plan")
    cloud = configurations.write(tmp_path / "cloud", 'terraform {\n  cloud {\n    organization = "x"\n  }\n}')
    system.workspace("cloud", cloud)
    with pytest.raises(InvalidInput, match="cloud"):
        system.client.enqueue("cloud", "plan")
    assert not system.client.list(workspace="big")


def test_sources_that_are_refused_when_they_are_written(system: System, path, tmp_path):
    for fields, field in (
        ({"git": "--upload-pack=touch"}, "--git"),
        ({"git": "ext::sh -c id"}, "--git"),
        ({"git": "https://host/x"}, "--git"),  # not among the protocols of this system
        ({"git": "http://bob:hunter2@host/x"}, "--git"),
        ({"git": "http://host/x", "ref": "--upload-pack=x"}, "--ref"),
        ({"git": "http://host/x", "subdir": "../.."}, "--subdir"),
        ({"archive": str(tmp_path / "none.zip")}, "--archive"),
        ({"archive": str(path / "main.tf")}, "--archive"),
        ({"path": str(path), "subdir": "nowhere"}, "--subdir"),
        ({"path": str(path), "ref": "main"}, "--ref"),
        ({"path": str(path), "git": "http://host/x"}, "--path"),
        ({}, "--path"),
    ):
        with pytest.raises(InvalidInput) as error:
            system.workspace("refused", **fields)
        assert (error.value.field, bool(error.value.hint)) == (field, True), fields
        assert "hunter2" not in refused(error)
    assert not system.client.workspaces()


def test_requests_that_make_no_sense(system: System, path):
    system.workspace("sense", path)
    for options in (
        {"run_type": "explode"},
        {"priority": 101},
        {"parallelism": 0},
        {"idempotency_key": ""},
        {"variables": {"no name": 1}},
        {"variables": {"size": object()}},
        {"import_state": True, "ignore_state": True},
    ):
        with pytest.raises(InvalidInput) as error:
            system.client.enqueue("sense", **{"run_type": "plan", **options})
        assert refused(error)
    assert not system.client.list(workspace="sense")
    with pytest.raises(Conflict, match="exists already"):
        system.workspace("sense", path)


def test_the_same_key_is_the_same_run(system: System, path):
    """docs/failures.md 8."""
    system.workspace("keyed", path)
    key = f"deploy-{time.monotonic_ns()}"
    first = system.client.enqueue("keyed", "plan", idempotency_key=key, variables={"size": 2})
    again = system.client.enqueue("keyed", "plan", idempotency_key=key, variables={"size": 2})
    assert again.id == first.id
    with pytest.raises(Conflict, match="asked for something else"):
        system.client.enqueue("keyed", "plan", idempotency_key=key, variables={"size": 3})
    assert system.wait(first).status is Status.SUCCESS


def test_steps_that_the_state_of_a_run_forbids(system: System, path):
    system.workspace("states", path)
    plan = system.plan("states", "plan")
    with pytest.raises(Conflict, match="does not wait for a confirmation"):
        system.client.confirm(plan.id, plan_hash=plan.plan_hash)
    with pytest.raises(InvalidInput, match="hexadecimal"):
        system.client.confirm(plan.id, plan_hash="abc")
    with pytest.raises(Conflict, match="no plan to discard"):
        system.client.discard(plan.id)
    with pytest.raises(Conflict, match="has ended already"):
        system.client.cancel(plan.id)
    planned = system.plan("states")
    with pytest.raises(Conflict, match="have not ended"):
        system.client.delete_workspace("states")
    system.client.discard(planned.id)
    assert system.client.discard(planned.id).status is Status.DISCARDED


@pytest.mark.parametrize("url", ["postgresql://nobody:wrong@127.0.0.1:1/none", "sqlite:////proc/none/iacq.db"])
def test_without_a_database_the_error_comes_soon_and_holds_no_password(system: System, url):
    client = Client.from_env(dataclasses.replace(system.settings, database_url=url))
    with at_most(5), pytest.raises(Unavailable, match="the database does not answer") as error:
        client.enqueue("any", "plan")
    assert "wrong" not in refused(error)
