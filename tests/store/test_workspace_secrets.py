"""What a workspace keeps secret: sealed, changed by name, frozen with a run or not."""

from typing import Any

import pytest

from iacq.client import Client
from iacq.domain.run import RunType
from iacq.domain.workspace import Workspace
from iacq.domain.workspace_secrets import WorkspaceSecrets
from iacq.errors import InvalidInput
from iacq.services import enqueuing, workspace_secrets
from iacq.services.core import Core, load_artifact
from iacq.services.enqueuing import Inputs, Request
from iacq.store import workspaces
from tests import samples
from tests.store.world import World, at_once

HUSH = "hush-hush"


@pytest.fixture
def client(core: Core) -> Client:
    return Client(core)


def kept(core: Core) -> WorkspaceSecrets:
    sealed = core.database.read(workspaces.secrets_of, "network")
    return workspace_secrets.unseal(core, "network", sealed)


def create(client: Client, **secrets: dict[str, str]) -> Workspace:
    return client.create_workspace(samples.workspace(), **secrets)


def test_secrets_are_changed_one_by_one(core: Core, client: Client) -> None:
    made = create(client, secret_variables={"a": HUSH, "b": HUSH}, secret_environment={"A": HUSH, "C": HUSH})
    assert (made.secret_names, made.secret_environment) == (("a", "b"), ("A", "C"))
    changed = client.update_workspace(
        "network", secret_variables={"b": "new-b", "c": HUSH}, secret_environment={"D": HUSH}, remove_secrets=["a", "C"]
    )
    assert (changed.secret_names, changed.secret_environment) == (("b", "c"), ("A", "D"))
    assert kept(core) == WorkspaceSecrets(variables={"b": "new-b", "c": HUSH}, environment={"A": HUSH, "D": HUSH})
    client.update_workspace("network", variables={"b": "in clear"}, environment={"A": "in clear"})
    assert kept(core) == WorkspaceSecrets(variables={"c": HUSH}, environment={"D": HUSH})
    client.update_workspace("network", remove_secrets=["c", "D"])
    assert core.database.read(workspaces.secrets_of, "network") is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"secret_variables": {"a": "abc"}}, "--secret-var"),
        ({"secret_environment": {"A": " ab \n"}}, "--secret-env"),
        ({"secret_environment": {"A": f"{HUSH}\0"}}, "--secret-env"),
        ({"secret_environment": {"A=B": HUSH}}, "--secret-env"),
        ({"secret_environment": {"": HUSH}}, "--secret-env"),
        ({"secret_variables": {"a b": HUSH}}, "--secret-var"),
        ({"secret_variables": {"a": HUSH}, "variables": {"a": "1"}}, "--secret-var"),
        ({"secret_environment": {"A": HUSH}, "environment": {"A": "1"}}, "--secret-env"),
        ({"remove_secrets": ["nothing"]}, "--remove-secret"),
    ],
)
def test_what_is_refused_changes_nothing_and_is_not_shown(
    world: World, client: Client, given: dict[str, Any], field: str
) -> None:
    create(client, secret_variables={"old": HUSH})
    before = world.rows()
    with pytest.raises(InvalidInput) as caught:
        client.update_workspace("network", **given)
    assert caught.value.field == field
    assert HUSH not in f"{caught.value.message} {caught.value.hint}"
    assert world.rows() == before


def test_two_changes_at_once_lose_no_secret(core: Core, client: Client) -> None:
    create(client)
    names = [f"name{number}" for number in range(8)]
    results = at_once(
        *[lambda name=name: client.update_workspace("network", secret_environment={name: HUSH}) for name in names]
    )
    assert [result for result in results if isinstance(result, Exception)] == []
    assert sorted(kept(core).environment) == names


def test_variables_are_frozen_and_the_environment_is_not(core: Core, client: Client) -> None:
    create(client, secret_variables={"token": HUSH}, secret_environment={"AWS_SECRET": "of-the-environment"})
    asked = Request(
        workspace="network", run_type=RunType.PLAN, by="alice", variables={"token": ["of", "the-run"], "size": "large"}
    )
    run = enqueuing.enqueue(core, asked)
    frozen = load_artifact(core, "network", run.id, "inputs")
    inputs = Inputs.from_json(frozen)
    assert inputs.secret_variables == {"token": HUSH}
    assert sorted(inputs.secret_values()) == ['["of", "the-run"]', HUSH]
    assert b"of-the-environment" not in frozen
    assert HUSH not in repr(inputs) + repr(kept(core))
