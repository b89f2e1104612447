"""`iacq demo` and `iacq up` as a person starts them: nothing is shared with the tests' own processes."""

import json
import signal
import subprocess
import urllib.request
from pathlib import Path

from tests import processes
from tests.acceptance import fleet
from tests.acceptance.machine import SLOW, Machine
from tests.ports import free_address
from tests.waiting import wait_until

SURVIVORS = ("iacq-keeper", "iacq-spare", "terraform")
FIRST_THEN_SLOW = """
resource "terraform_data" "first" {}
""" + SLOW.replace('"slow" {', '"slow" {\n  depends_on = [terraform_data.first]')


def kill_all_but_keepers(program: subprocess.Popen[str]) -> None:
    """SIGKILL `iacq up` and all that it started, but not the keepers and what they started."""
    family = [process.pid for process in processes.descendants(program.pid)]
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in family}
    spared = {pid for pid, name in names.items() if name.startswith(SURVIVORS)}
    for pid in list(spared):
        spared |= {process.pid for process in processes.descendants(pid)}
    fleet.send(signal.SIGKILL, [pid for pid in (program.pid, *family) if pid not in spared])
    program.wait(60)


def test_demo_applies_hot_and_then_finds_nothing_to_change(machine: Machine) -> None:
    first = machine.iacq("demo")
    assert first.returncode == 0, first.stderr + first.stdout
    assert "start tier: hot" in first.stdout
    assert "Skipping init AND plan restore" in first.stdout
    second = machine.iacq("demo")
    assert second.returncode == 0, second.stderr + second.stdout
    assert "nothing to change" in second.stdout
    assert machine.home.stat().st_mode & 0o777 == 0o700
    assert (machine.home / "keys").stat().st_mode & 0o777 == 0o600
    assert not processes.working_in(machine.home)


def test_a_second_up_is_refused_and_interrupt_leaves_nothing(machine: Machine) -> None:
    address = free_address()
    machine.environment["IACQ_FLOWER_ADDRESS"] = address
    with machine.up("--flower") as program:
        assert f"flower:        http://{address}/" in (machine.directory / "up.log").read_text()
        with urllib.request.urlopen(f"http://{address}/workers", timeout=300) as page:
            assert b"Flower" in page.read()
        refused = machine.iacq("up")
        assert refused.returncode == 4
        assert f"process {program.pid}" in refused.stderr
        assert machine.iacq("doctor").returncode == 0
    assert program.returncode == 0
    assert not processes.working_in(machine.home)


def test_the_first_interrupt_names_what_runs_and_the_second_one_stops_it(machine: Machine) -> None:
    """docs/failures.md 29: terraform is interrupted once, and what it made is known."""
    source, ledger, go = machine.directory / "source", machine.directory / "ledger", machine.directory / "go"
    source.mkdir()
    (source / "main.tf").write_text(FIRST_THEN_SLOW % (ledger, go))
    machine.environment["IACQ_STOP_GRACE"] = "10m"
    with machine.up() as program:
        machine.json("workspace", "create", "net", "--path", str(source))
        run = machine.json("apply", "net", "--auto-approve", "--detach")
        wait_until(ledger.exists, 60, "terraform applies")
        program.send_signal(signal.SIGINT)
        said = f"still applying: run {run['id']} (plan_and_apply of net)"
        for words in (said, "They may end within 480 s"):
            wait_until(lambda words=words: words in machine.log.read_text(), 15, "it is named, with its time")
        program.send_signal(signal.SIGINT)
        assert program.wait(240) == 0
        ended = machine.json("show", str(run["id"]))
        assert (ended["status"], ended["error"]["code"]) == ("failed", "stopped")
        assert "terraform_data.first" in machine.json("state", "show", "net")
    assert not processes.working_in(machine.home)


def test_a_restart_goes_on_where_it_was(machine: Machine) -> None:
    """docs/failures.md 3, 17: what waits for its confirmation is neither lost nor failed; its apply starts warm."""
    source = machine.directory / "source"
    source.mkdir()
    (source / "main.tf").write_text('resource "terraform_data" "a" {}\n')
    with machine.up():
        machine.json("workspace", "create", "net", "--path", str(source))
        assert machine.json("apply", "net")["status"] == "apply_pending"
    waiting = machine.json("plan", "net", "--detach")
    with machine.up():
        assert machine.status(1) == "apply_pending"
        wait_until(lambda: machine.status(waiting["id"]) == "success", 60, "the waiting run runs")
        assert machine.iacq("confirm", "1", "--yes", "-f").returncode == 0
        run = machine.json("show", "1")
        assert (run["status"], run["start_tier"]) == ("applied", "warm")


def test_an_apply_survives_the_death_of_everything_but_its_keeper(machine: Machine) -> None:
    source, ledger, go = machine.directory / "source", machine.directory / "ledger", machine.directory / "go"
    source.mkdir()
    (source / "main.tf").write_text(SLOW % (ledger, go))
    with machine.up() as program:
        machine.json("workspace", "create", "net", "--path", str(source))
        run = machine.json("apply", "net", "--auto-approve", "--detach")
        wait_until(ledger.exists, 60, "terraform applies")
        kill_all_but_keepers(program)
    with machine.up():
        wait_until(lambda: "adopted" in json.dumps(machine.json("show", str(run["id"]))["events"]), 60, "it is adopted")
        go.touch()
        wait_until(lambda: machine.status(run["id"]) == "applied", 60, "it ends applied")
    assert ledger.read_text() == "began\n"
