"""A run whose pod is lost while it waits for a person is prepared in another one, and applied there without init."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from iacq import messages
from iacq.domain.run import Run, StartTier, Status, WarmupStatus
from iacq.store.protocol import waiting
from iacq.store.schema import runs
from tests.acceptance import configurations, fleet
from tests.acceptance.conftest import MARKS
from tests.acceptance.system import POD, System
from tests.waiting import wait_until

OTHER = "local-2"
CONFIGURATION = """
resource "null_resource" "it" {
  provisioner "local-exec" { command = "cat .generated/made" }
}
resource "terraform_data" "late" {
  input = templatefile("${path.module}/template.txt", { id = null_resource.it.id })
}
output "text" { value = terraform_data.late.output }
output "cwd" { value = path.cwd }
"""


@pytest.fixture(scope="module")
def shared(
    clean_environment: None, make_database, null_provider: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """Give a system that warms up, for all tests here."""
    directory = tmp_path_factory.mktemp("warm")
    url = make_database("sqlite", directory / "database")
    with System(directory / "system", url, WARMUP_RETRIES="3", PROVIDER_SOURCE=str(null_provider)) as system:
        yield system


@pytest.fixture
def warming(request: pytest.FixtureRequest, shared: System, home: Path) -> Iterator[System]:
    """Give it idle."""
    request.node.stash[MARKS] = [(shared, shared.mark())]
    yield shared
    if OTHER in shared.programs:
        shared.stop(OTHER)
    shared.tidy()


def start_other(system: System, **settings: str) -> None:
    """Start a second pod, and wait until its slots are open."""
    system.start_agent(OTHER, slots=2, **settings)
    wait_until(lambda: sum(slot.usable for slot in system.client.slots() if slot.pod_name == OTHER) == 2, 30, OTHER)


def kill_pod(system: System, name: str = POD) -> None:
    """SIGKILL of everything that a pod is."""
    pids = system.family(name)
    os.kill(system.programs[name].pid, signal.SIGSTOP)  # else it would start them again
    fleet.send(signal.SIGKILL, pids)
    system.kill(name)


def lose_slot(system: System, run: Run, *, without: Path | None = None) -> None:
    """Give up the slot that is reserved for a run. without: there the machine's providers are moved first."""
    if without is not None:
        (system.settings.mirror / "packages" / "registry.terraform.io").rename(without)
    slot = next(slot for slot in system.client.slots() if slot.run_id == run.id)
    assert system.database.attempt(waiting.give_up_reservation, run, slot) is not None
    system.ring(messages.BEGIN_WARMUPS)


def planned(system: System, path, text: str = CONFIGURATION) -> Run:
    configurations.write(path, text)
    configurations.write(path, "id ${id}\n", "template.txt")
    system.workspace("warm", path)
    system.spy.hook('if [ "$1" = plan ]; then mkdir -p .generated; echo made at plan time > .generated/made; fi')
    run = system.plan("warm")
    assert run.status is Status.APPLY_PENDING, run.error_text
    system.spy.restore()
    return run


def until_warm(system: System, run: Run, *status: WarmupStatus) -> Run:
    wanted = status or (WarmupStatus.READY,)
    return system.until(run, lambda found: found.warmup_status in wanted, f"its warm-up is {wanted}")


def test_a_lost_pod_costs_no_init(warming: System, tmp_path):
    """docs/failures.md 14, 16: warmed up in another pod, whose mirror lacks the provider; then applied as it is."""
    system = warming
    run = planned(system, tmp_path / "warm")
    kill_pod(system)
    start_other(system, PROVIDER_MIRROR=str(tmp_path / "another-mirror"))
    ready = until_warm(system, run)
    assert (ready.status, ready.prepared_pod_name, ready.warmup_retries) == (Status.APPLY_PENDING, OTHER, 1)
    assert system.client.to_json(ready)["warmup_status"] == "ready"
    warmed = system.log(ready, "apply")
    assert "✗ Providers are not on this machine: registry.terraform.io/hashicorp/null 2.1.2" in warmed
    assert "✓ Warmed up: the apply starts here, without init" in warmed
    before = system.spy.calls()
    canonical = system.settings.work_root / "runs" / f"{run.id}-{run.plan_fence}"
    assert POD in str(canonical.readlink()), "it is the apply's to take"
    system.ring(messages.CLEANUP_WORK_DIRS)

    system.confirm(ready)
    applied = system.wait(ready)
    assert (applied.status, applied.error_text, applied.start_tier) == (Status.APPLIED, None, StartTier.WARM)
    assert applied.pod_name == OTHER
    assert [call.command for call in system.spy.calls()[len(before) :]] == ["apply"], "no init"
    assert OTHER in str(canonical.readlink())
    assert "init" not in applied.timings["apply"]
    log = system.log(applied, "apply")
    for said in (
        "Same slot",
        "Plan hash verified",
        "Skipping init AND plan restore (using the workspace that was warmed",
    ):
        assert f"✓ {said}" in log
    assert "made at plan time" in log
    outputs = system.client.outputs("warm")
    assert outputs["text"]["value"].startswith("id ")
    applies = system.spy.calls("apply", run=run.id)
    assert [call.directory for call in applies] == [outputs["cwd"]["value"]]
    assert {call.directory for call in system.spy.calls("plan", run=run.id)} == {outputs["cwd"]["value"]}
    assert [state.resources for state in system.client.states("warm")] == [2]


def test_confirmed_while_it_is_warmed_up(warming: System, tmp_path, gate):
    """The apply waits behind the warm-up in its slot, and finds it ready."""
    system = warming
    run = planned(system, tmp_path / "warm")
    system.spy.hook(f'if [ "$1" = init ]; then {gate.script}; fi')
    lose_slot(system, run, without=tmp_path / "providers")
    gate.reached()
    queued = system.confirm(system.client.get(run.id))
    assert (queued.status, queued.warmup_status) == (Status.APPLY_QUEUED, WarmupStatus.WARMING)
    gate.open()
    applied = system.wait(run)
    assert (applied.status, applied.start_tier, applied.tries) == (Status.APPLIED, StartTier.WARM, 1)
    assert [call.command for call in system.spy.calls()][-2:] == ["init", "apply"]
    assert gate.visits() == 1


def test_a_slot_that_dies_while_it_warms_up(warming: System, tmp_path, gate):
    """A failed attempt: what it had begun is killed and removed, and the run is warmed up again."""
    system = warming
    run = planned(system, tmp_path / "warm")
    system.spy.hook(f'if [ "$1" = init ]; then {gate.script}; fi')
    lose_slot(system, run, without=tmp_path / "providers")
    gate.reached()
    begun = system.client.get(run.id)
    init = system.fleet().launch(run.id, "init_mirror_then_source")
    fleet.kill(system.fleet().slot(begun.prepared_slot_id))
    wait_until(lambda: not init.running, 15, "its init is killed")
    gate.open()
    ready = system.until(run, lambda found: found.warmup_status is WarmupStatus.READY, "another warm-up is ready")
    assert ready.warmup_retries == 2
    system.confirm(ready)
    assert system.wait(ready).start_tier is StartTier.WARM


def test_what_cannot_be_warmed_up_is_applied_all_the_same(warming: System, tmp_path):
    """docs/failures.md 16: there is another build of terraform now; three tries, then the ordinary way."""
    system = warming
    run = planned(system, tmp_path / "warm")
    system.spy.change("another build")
    lose_slot(system, run)
    failed = system.until(
        run, lambda found: (found.warmup_status, found.warmup_retries) == (WarmupStatus.FAILED, 3), "no more warm-ups"
    )
    assert (failed.status, failed.prepared_pod_name) == (Status.APPLY_PENDING, None)
    assert "✗ Not warmed up: terraform differs: another build" in system.log(failed, "apply")
    assert all(slot.usable for slot in system.client.slots())
    system.confirm(failed)
    applied = system.wait(failed)
    assert (applied.status, applied.start_tier) == (Status.APPLIED, StartTier.COLD), applied.error_text
    assert "made at plan time" in system.log(applied, "apply")


def test_a_warm_up_that_expires_leaves_nothing(warming: System, tmp_path):
    system = warming
    run = planned(system, tmp_path / "warm", configurations.COUNTED)
    lose_slot(system, run)
    until_warm(system, run)
    system.database.run(lambda tx: tx.execute(runs.update().where(runs.c.id == run.id).values(warmup_until_ms=1)))
    expired = until_warm(system, run, WarmupStatus.EXPIRED)
    assert all(found.usable for found in system.client.slots())

    def no_directory() -> bool:
        system.ring(messages.CLEANUP_WORK_DIRS)
        return not list(system.settings.work_root.glob(f"pods/{POD}/slot-*/{run.id}-*"))

    wait_until(no_directory, 15, "its directory is removed")
    system.confirm(expired)
    assert system.wait(expired).start_tier is StartTier.WARM


def test_a_snapshot_that_was_changed_is_never_applied(warming: System, tmp_path):
    """docs/failures.md 13: the warm-up fails, and so does the run."""
    system = warming
    run = planned(system, tmp_path / "warm", configurations.COUNTED)
    for file in system.home.glob(f"artifacts/runs/{run.id}/snapshot-*"):
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    lose_slot(system, run)
    failed = until_warm(system, run, WarmupStatus.FAILED)
    system.confirm(failed)
    ended = system.wait(failed)
    assert (ended.status, ended.error_code) == (Status.FAILED, "unreadable")
    assert "apply" not in system.spy.commands(run.id)
