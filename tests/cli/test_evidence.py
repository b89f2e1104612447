"""`iacq show` of an interrupted apply."""

import json

from iacq.domain.apply_log import Seen
from iacq.domain.run import Status
from iacq.domain.transitions import Cause
from iacq.services.evidence import Evidence, StateEvidence
from tests.cli.fake_client import FakeClient, make_run

STATE = StateEvidence(serial_before=3, serial_now=5, resources_now=7, version=None)
EVIDENCE = {
    "started_at": 1_700_000_000_000,
    "interrupted_at": 1_700_000_090_000,
    "cause": Cause.LEASE_LOST,
    "pod_name": "local-1",
    "slot_id": 2,
    "agent_id": "local-1-abc",
    "lease_until": 1_700_000_060_000,
    "end_proven": False,
    "state": STATE,
    "resources": (
        Seen(address="aws_vpc.a", action="create", status="done", id="vpc-1"),
        Seen(address="aws_subnet.b", action="create", status="running"),
    ),
    "errored_state": False,
}


def client(status: Status = Status.APPLY_INTERRUPTED, **changed: object) -> FakeClient:
    evidence = Evidence(**{**EVIDENCE, **changed})  # type: ignore[arg-type]
    return FakeClient(run=make_run(status=status), evidence=evidence)


def test_it_says_what_is_known_and_what_to_do(iacq):
    shown = iacq(client(), "show", "42").stdout
    assert "nothing was heard of its worker any more" in shown
    assert "in slot 2 of pod local-1 (agent local-1-abc)" in shown
    assert "may still be alive in slot 2 of pod local-1" in shown
    assert "serial 3 before, serial 5 now (7 resources; a version once this run is resolved)" in shown
    done, begun = shown.split("Begun, and no end was reported")
    assert "aws_vpc.a (create) [id=vpc-1]" in done
    assert "aws_subnet.b (create)" in begun
    assert "Wait until pod local-1 is back or gone" in shown
    assert "iacq run resolve 42 --applied|--failed --comment '…'" in shown


def test_with_a_backend_of_its_own_it_says_where_to_look(iacq):
    shown = iacq(client(state=None, end_proven=True, errored_state=True), "show", "42").stdout
    assert "is gone (proven)" in shown
    assert "Wait until" not in shown
    assert "may be left behind" in shown
    assert "`iacq state pull net --errored 42`" in shown


def test_once_resolved_it_gives_no_advice(iacq):
    shown = iacq(client(Status.FAILED, end_proven=True, lease_until=None), "show", "42").stdout
    assert "aws_vpc.a" in shown
    assert "resolve" not in shown.split("Interrupted apply:")[1].split("Terraform reported")[1]


def test_many_resources_are_counted(iacq):
    many = tuple(Seen(address=f"a.b[{number}]", action="create", status="running") for number in range(105))
    shown = iacq(client(resources=many), "show", "42").stdout
    assert "a.b[99]" in shown
    assert "a.b[100]" not in shown
    assert "and 5 more; `iacq show 42 --json` names all" in shown


def test_programs_get_it_with_stable_keys(iacq):
    assert json.loads(iacq(FakeClient(), "show", "42", "--json").stdout)["evidence"] is None
    found = json.loads(iacq(client(), "show", "42", "--json").stdout)["evidence"]
    assert found["interrupted_at"] == "2023-11-14T22:14:50.000Z"
    assert (found["managed"], found["serial_before"], found["serial_now"]) == (True, 3, 5)
    assert found["resources"][0] == {"address": "aws_vpc.a", "action": "create", "status": "done", "id": "vpc-1"}
    assert found["end_proven"] is False
