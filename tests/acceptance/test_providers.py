"""Providers from a network mirror, through every way in which a run begins."""

from pathlib import Path

import pytest

from iacq.domain.provider_lock import LOCK_FILE
from iacq.domain.run import Run, StartTier, Status
from iacq.store.protocol import waiting
from tests.acceptance import configurations
from tests.acceptance.system import System
from tests.network_mirror import NULL

RESOURCE = 'variable "n" { default = "1" }\nresource "null_resource" "it" { triggers = { n = var.n } }\n'
FROM_MIRROR = "Providers: all from the mirror of this machine"


@pytest.fixture
def online(make_system, network_mirror) -> System:
    """Give a system whose user takes providers from the network mirror."""
    system = make_system(slots=2)
    (system.home / ".terraformrc").write_text(network_mirror.configuration)
    return system


def lose_slot(system: System, run: Run) -> None:
    slot = next(slot for slot in system.client.slots() if slot.run_id == run.id)
    assert system.database.attempt(waiting.give_up_reservation, run, slot) is not None


def program(system: System) -> Path:
    return next((system.settings.mirror / "packages" / NULL).glob("*/*/terraform-provider-null_*"))


def test_a_lock_file_of_another_platform_at_plan_hot_and_warm(online: System, network_mirror, tmp_path):
    path = configurations.write(tmp_path / "it", RESOURCE)
    configurations.write(path, network_mirror.foreign_lock("2.1.2"), LOCK_FILE)
    online.workspace("it", path, environment=network_mirror.environment)
    first = online.apply("it")
    assert (first.status, first.start_tier) == (Status.APPLIED, StartTier.HOT), first.error_text
    assert network_mirror.downloads() == ["terraform-provider-null_2.1.2_linux_amd64.zip"]
    with network_mirror.answering(500):  # nobody needs it any more
        second = online.plan("it", variables={"n": "2"})
        assert FROM_MIRROR in online.log(second, "plan")
        lose_slot(online, second)
        online.confirm(second)
        second = online.wait(second)
        assert (second.status, second.start_tier) == (Status.APPLIED, StartTier.WARM), second.error_text
        assert "✓ Same providers, by their content (1)" in online.log(second, "apply")
    assert len(network_mirror.downloads()) == 1


def test_a_mirror_that_is_away_and_a_copy_that_was_changed(online: System, network_mirror, tmp_path):
    path = configurations.write(tmp_path / "it", RESOURCE)
    online.workspace("it", path, environment=network_mirror.environment)
    with network_mirror.answering(500):
        failed = online.plan("it")
    assert (failed.status, failed.error_code) == (Status.FAILED, "init")
    assert "500 Internal Server Error" in failed.error_text
    run = online.plan("it")
    assert run.status is Status.APPLY_PENDING, run.error_text

    whole = program(online).read_bytes()
    program(online).chmod(0o755)
    program(online).write_bytes(b"#!/bin/sh\necho used >> /dev/null\n")
    online.confirm(run)
    run = online.wait(run)
    log = online.log(run, "apply")
    assert (run.status, run.start_tier) == (Status.APPLIED, StartTier.COLD), log
    assert f"✗ Provider {NULL} differs: changed: " in log
    assert "removed there, since it was changed" in log
    assert program(online).read_bytes() == whole
    assert len(network_mirror.downloads()) == 2
