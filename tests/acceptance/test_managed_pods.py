"""Pods that iacq starts and ends by itself: `iacq up`, and the commands about pods."""

from iacq import settings
from iacq.client import Client
from tests import processes
from tests.acceptance.machine import SLOW, Machine
from tests.waiting import wait_until


def test_pods_are_deleted_and_drained_and_leave_nothing(machine: Machine) -> None:
    """docs/failures.md 17, 24, 28: what runs ends with its pod by force only; what waits goes on in the next one."""
    machine.environment["IACQ_STOP_GRACE"] = "4s"
    source, ledger, go = machine.directory / "source", machine.directory / "ledger", machine.directory / "go"
    source.mkdir()
    (source / "main.tf").write_text(SLOW % (ledger, go))
    with machine.up(), Client.from_env(settings.load(machine.environment, machine.directory)) as client:
        machine.json("workspace", "create", "net", "--path", str(source))
        run = client.enqueue("net", "plan_and_apply", auto_apply=True)
        wait_until(ledger.exists, 60, "terraform applies")
        [pod] = client.pods()
        work = machine.home / "work" / "pods" / pod.name
        refused = machine.iacq("pod", "delete", pod.name)
        assert refused.returncode == 4
        assert f"holds run {run.id}" in refused.stderr
        assert processes.working_in(work)
        assert machine.json("pod", "delete", pod.name, "--force")["status"] == "deleting"
        wait_until(lambda: pod.name not in {one.name for one in client.pods()}, 60, "it is gone")
        assert not processes.working_in(work)
        assert not work.exists()
        ended = client.get(run.id)
        assert (ended.status, ended.error_code) == ("failed", "stopped")
        assert ledger.read_text() == "began\n"

        go.touch()
        waits = client.wait(client.enqueue("net", "plan_and_apply").id, until={"apply_pending"}, timeout=120)
        [second] = client.pods()
        assert second.name == waits.prepared_pod_name != pod.name
        assert machine.json("pod", "drain", second.name)["name"] == second.name
        wait_until(lambda: second.name not in {one.name for one in client.pods()}, 60, "it is gone")
        client.confirm(waits.id, plan_hash=waits.plan_hash)
        applied = client.wait(waits.id, timeout=120)
        assert (applied.status, applied.start_tier) == ("applied", "warm")
        assert applied.pod_name not in {pod.name, second.name}
    assert f"pod {pod.name}  deleting" in machine.said
