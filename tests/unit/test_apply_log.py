import json

import pytest

from iacq.domain import apply_log, terraform_events
from iacq.domain.apply_log import Seen

SAID = {
    "terraform_data.a: Creating...": Seen(address="terraform_data.a", action="create", status="running"),
    "aws_s3_bucket.b: Modifying... [id=my bucket]": Seen(address="aws_s3_bucket.b", action="update", status="running"),
    'module.net["a.b"].null_resource.c[0]: Destroying... [id=7]': Seen(
        address='module.net["a.b"].null_resource.c[0]', action="delete", status="running"
    ),
    "terraform_data.a: Creation complete after 0s [id=42]": Seen(
        address="terraform_data.a", action="create", status="done", id="42"
    ),
    "terraform_data.a: Modifications complete after 1m2s [id=42]": Seen(
        address="terraform_data.a", action="update", status="done", id="42"
    ),
    "terraform_data.a: Destruction complete after 0s": Seen(address="terraform_data.a", action="delete", status="done"),
    'terraform_data.a["x y"]: Creation errored after 3s': Seen(
        address='terraform_data.a["x y"]', action="create", status="failed"
    ),
    "terraform_data.a (deposed object 00000000): Destroying... [id=1]": Seen(
        address="terraform_data.a", action="delete", status="running"
    ),
}


@pytest.mark.parametrize("line", SAID)
def test_what_terraform_says_of_a_resource(line: str) -> None:
    event = terraform_events.parse(json.dumps({"@message": line, "@level": "info", "type": "apply_start"}))
    shown = terraform_events.render(event)
    assert shown is not None
    assert apply_log.read([shown]) == (SAID[line],)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Apply complete! Resources: 1 added, 0 changed, 0 destroyed.",
        "terraform_data.a: Still creating... [10s elapsed]",
        "terraform_data.a: Refreshing state... [id=1]",
        "data.local_file.a: Reading...",
        "terraform_data.a: Provisioning with 'local-exec'...",
        "terraform_data.a (local-exec): terraform_data.b: Creating...",
        "│   on main.tf line 2, in resource: Creating...",
    ],
)
def test_what_says_nothing_of_one(line: str) -> None:
    assert apply_log.read([line]) == ()


def test_the_last_word_counts_in_the_order_of_their_beginnings() -> None:
    lines = ["x.a: Creating...", "x.b: Creating...", "x.a: Creation complete after 1s [id=1]"]
    assert [(seen.address, seen.status) for seen in apply_log.read(lines)] == [("x.a", "done"), ("x.b", "running")]
