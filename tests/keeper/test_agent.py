"""A pod's process tree, with real processes that die in every way."""

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iacq.keeper import files, grace, signals
from tests import processes
from tests.keeper import jobs
from tests.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]


class Agent:
    """One agent process and what its children say."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, behaviour: str, *, slots: int = 1, grace: float = 20, housekeeping: str = "idle") -> "Agent":
        arguments = [str(self.root), str(slots), str(grace), behaviour, housekeeping]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.keeper.agent_program", *arguments],
            cwd=CHECKOUT,
            start_new_session=True,
        )
        for name in ("housekeeping", *(f"slot-{number}" for number in range(1, slots + 1))):
            self.boot(name)
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def boots(self, name: str) -> list[dict[str, object]]:
        directory = self.root / name
        found = [json.loads(file.read_text()) for file in directory.glob("*")] if directory.is_dir() else []
        return sorted(found, key=lambda said: said["at"])

    def boot(self, name: str, number: int = 1) -> int:
        """Wait for the nth life of a child; returns its pid."""
        wait_until(lambda: len(self.boots(name)) >= number, what=f"{name} lives {number} times")
        pid = self.boots(name)[number - 1]["pid"]
        assert isinstance(pid, int)
        return pid

    def order(self, script: str, *, slot: int = 1) -> Path:
        job = jobs.shell_job(self.root / "work", script, slot=slot)
        (self.root / "work").mkdir(exist_ok=True)
        aside = self.root / f".{slot}.order"
        aside.write_text(jobs.as_json(job))
        aside.rename(self.root / f"{slot}.order")
        return job.directory

    def report(self, slot: int = 1) -> tuple[str, int, list[str]]:
        file = self.root / f"{slot}.ended"
        boot, returncode, sent = json.loads(wait_until(lambda: file.exists() and file.read_text()) or "")
        return boot, returncode, sent

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def family(self) -> list[processes.Process]:
        return processes.descendants(self.pid)


def has_ended(pid: int) -> bool:
    return not processes.is_alive(pid)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    yield agent
    if agent.process is not None:
        if agent.process.poll() is None:
            agent.process.send_signal(signal.SIGTERM)
            agent.process.send_signal(signal.SIGINT)
        agent.process.wait(120)


def test_a_clean_stop_leaves_nothing(agent: Agent, tmp_path: Path) -> None:
    agent.start("idle", slots=2, housekeeping="last_words")
    family = wait_until(lambda: len(agent.family()) == 8 and agent.family())  # fork server, 2 keepers, 2 spares
    assert family
    assert agent.stop() == 0
    assert not [one for one in family if processes.is_alive(one.pid)]
    assert (tmp_path / "alive-at-the-end").read_text() == "0"  # housekeeping was last


def test_children_have_no_descriptors_of_their_siblings(agent: Agent) -> None:
    agent.start("idle", slots=3)
    os.kill(agent.boot("slot-2"), signal.SIGKILL)
    agent.boot("slot-2", 2)
    # The standard three and the directory being listed; socket and bell of a slot, bells of housekeeping.
    counts = {
        name: {len(said["descriptors"]) for said in agent.boots(name)}  # type: ignore[arg-type] # a list
        for name in ("housekeeping", "slot-1", "slot-2", "slot-3")
    }
    assert counts == {"housekeeping": {7}, "slot-1": {6}, "slot-2": {6}, "slot-3": {6}}


def test_a_child_that_dies_is_started_again_more_and_more_slowly(agent: Agent) -> None:
    agent.start("crash")
    agent.boot("slot-1", 5)
    at = [float(str(said["at"])) for said in agent.boots("slot-1")]
    waits = [later - earlier for earlier, later in itertools.pairwise(at)]
    for wait, least in zip(waits, (0.1, 0.2, 0.4, 0.8), strict=False):
        assert least <= wait
    assert len(agent.boots("housekeeping")) == 1


def test_housekeeping_rings_a_slot_over_its_lives(agent: Agent, tmp_path: Path) -> None:
    agent.start("wait_for_bell", slots=2, housekeeping="ring")
    for life in (1, 2):
        pid = agent.boot("slot-2", life)
        (tmp_path / "ring-2").touch()
        wait_until((tmp_path / "slot-2.rung").exists)
        (tmp_path / "slot-2.rung").unlink()
        os.kill(pid, signal.SIGKILL)
    assert not (tmp_path / "slot-1.rung").exists()


def test_a_killed_slot_process_finds_its_program_again(agent: Agent, tmp_path: Path) -> None:
    # docs/failures.md 9, 26
    agent.start("work")
    directory = agent.order(jobs.waits_for(tmp_path / "go", "exit 6"))
    jobs.until_ready(directory)
    os.kill(agent.boot("slot-1"), signal.SIGKILL)
    agent.boot("slot-1", 2)
    (tmp_path / "go").touch()
    assert agent.report()[1:] == (6, [])
    assert agent.stop() == 0


def test_a_killed_keeper_loses_no_exit_code(agent: Agent, tmp_path: Path) -> None:
    agent.start("work")
    directory = agent.order(jobs.waits_for(tmp_path / "go", "exit 7"))
    jobs.until_ready(directory)
    keeper = jobs.keeper_of(directory)
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: not processes.is_alive(keeper))
    assert files.is_alive(directory)
    (tmp_path / "go").touch()
    assert agent.report()[1:] == (7, [])
    # The slot process ends after its job; the next one has a keeper that starts.
    (tmp_path / "1.ended").unlink()
    files.forget(directory)
    agent.order("exit 8")
    agent.boot("slot-1", 2)
    assert agent.report()[1:] == (8, [])


def test_a_killed_keeper_is_replaced_in_its_signals(agent: Agent, tmp_path: Path) -> None:
    agent.start("work")
    script = f"trap 'echo int' INT; setsid sh -c 'sleep 60' & {jobs.waits_for(tmp_path / 'go')}"
    directory = agent.order(script)
    jobs.until_ready(directory)
    os.kill(jobs.keeper_of(directory), signal.SIGKILL)
    signals.request(directory, signals.Signal.INTERRUPT)
    jobs.until_ready(directory, "int")
    signals.request(directory, signals.Signal.KILL)
    assert agent.report()[1:] == (-9, ["SIGINT", "SIGKILL"])
    assert jobs.out(directory).count("int") == 1
    assert not files.is_alive(directory)
    wait_until(lambda: not [one for one in agent.family() if one.command == "sleep 60"])


def test_what_a_program_leaves_behind_without_a_keeper_is_ended(agent: Agent, tmp_path: Path) -> None:
    agent.start("work")
    directory = agent.order(f"setsid sleep 60 & {jobs.waits_for(tmp_path / 'go', 'exit 3')}")
    jobs.until_ready(directory)
    os.kill(jobs.keeper_of(directory), signal.SIGKILL)
    (tmp_path / "go").touch()
    assert agent.report()[1:] == (3, [])
    assert not [one for one in agent.family() if one.command == "sleep 60"]


def test_keepers_die_and_the_fork_server_too(agent: Agent, tmp_path: Path) -> None:
    agent.start("work")
    directory = agent.order(jobs.waits_for(tmp_path / "go", "exit 2"))
    jobs.until_ready(directory)
    keeper = processes.look(jobs.keeper_of(directory))
    assert keeper is not None
    os.kill(keeper.parent, signal.SIGKILL)  # the fork server; the keeper goes on
    os.kill(keeper.pid, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert agent.report()[1:] == (2, [])
    (tmp_path / "1.ended").unlink()
    files.forget(directory)
    agent.order("exit 8")
    assert agent.report()[1:] == (8, [])  # by a keeper of a new fork server
    assert agent.stop() == 0


def test_a_killed_agent_takes_its_children_along_and_the_keeper_stays(agent: Agent, tmp_path: Path) -> None:
    agent.start("idle", slots=2, housekeeping="idle")
    assert agent.process is not None
    agent.process.kill()
    agent.process.wait()
    for name in ("housekeeping", "slot-1", "slot-2"):
        pid = agent.boot(name)
        wait_until(functools.partial(has_ended, pid), what=f"{name} ends")


def test_a_killed_agent_costs_no_result(agent: Agent, tmp_path: Path) -> None:
    agent.start("work")
    directory = agent.order(jobs.waits_for(tmp_path / "go", "exit 5"))
    jobs.until_ready(directory)
    assert agent.process is not None
    agent.process.kill()
    agent.process.wait()
    keeper = jobs.keeper_of(directory)
    assert processes.is_alive(keeper)
    (tmp_path / "go").touch()
    result = wait_until(lambda: files.read_result(directory))
    assert result is not None
    assert result.returncode == 5
    wait_until(lambda: not processes.is_alive(keeper), what="the keeper leaves after its job")


def test_an_orphaned_keeper_obeys_requests_and_a_new_agent_sees_the_end(agent: Agent, tmp_path: Path) -> None:
    agent.start("work")
    directory = agent.order(f"trap 'echo int; exit 11' INT; {jobs.waits_for(tmp_path / 'never')}")
    jobs.until_ready(directory)
    assert agent.process is not None
    agent.process.kill()
    agent.process.wait()
    wait_until(lambda: not processes.is_alive(agent.boot("slot-1")) or (tmp_path / "1.ended").exists)
    agent.start("work")
    agent.boot("slot-1", 2)
    signals.request(directory, signals.Signal.INTERRUPT)
    assert agent.report()[1:] == (11, ["SIGINT"])


def test_an_end_that_nobody_saw_is_unknown(agent: Agent, tmp_path: Path) -> None:
    agent.start("work")
    directory = agent.order("echo ready; exec sleep 60")
    jobs.until_ready(directory)
    assert agent.process is not None
    keeper, program, slot = jobs.keeper_of(directory), jobs.program_of(directory), agent.boot("slot-1")
    for pid in (agent.pid, slot, keeper, program):
        os.kill(pid, signal.SIGKILL)
    agent.process.wait()
    agent.start("work")
    wait_until((tmp_path / "1.ended").exists)
    wait_until(lambda: (tmp_path / "1.ended").read_text() == "unknown")


def test_a_program_without_keeper_and_agent_is_managed_by_the_next_agent(agent: Agent, tmp_path: Path) -> None:
    agent.start("work")
    directory = agent.order("trap '' INT; echo ready; sleep 60 & wait")
    jobs.until_ready(directory)
    assert agent.process is not None
    for pid in (agent.pid, agent.boot("slot-1"), jobs.keeper_of(directory)):
        os.kill(pid, signal.SIGKILL)
    agent.process.wait()
    assert files.is_alive(directory)
    agent.start("work")
    signals.request(directory, signals.Signal.KILL)
    wait_until(lambda: not files.is_alive(directory))
    wait_until((tmp_path / "1.ended").exists)
    wait_until(lambda: (tmp_path / "1.ended").read_text() == "unknown")


def test_a_stop_lets_programs_end_within_the_grace(agent: Agent, tmp_path: Path) -> None:
    # docs/failures.md 29
    agent.start("work")
    directory = agent.order(jobs.waits_for(tmp_path / "go", "exit 4"))
    jobs.until_ready(directory)
    assert agent.process is not None
    agent.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        agent.process.wait(0.3)
    (tmp_path / "go").touch()
    assert agent.process.wait(60) == 0
    assert agent.report()[1:] == (4, [])


def test_a_slot_that_dies_while_its_pod_stops_is_started_again_to_finish(agent: Agent, tmp_path: Path) -> None:
    # docs/failures.md 29
    agent.start("work", slots=2, grace=300)
    directory = agent.order(jobs.waits_for(tmp_path / "go", "exit 4"))
    jobs.until_ready(directory)
    assert agent.process is not None
    agent.process.send_signal(signal.SIGTERM)
    wait_until(lambda: has_ended(agent.boot("slot-2")), what="the pod stops")
    before = time.monotonic()
    os.kill(agent.boot("slot-1"), signal.SIGKILL)
    agent.boot("slot-1", 2)
    stop_at = agent.boots("slot-1")[1]["stop_at"]
    assert before < float(str(stop_at)) < before + 300 - grace.stopping_may_last(300)
    (tmp_path / "go").touch()
    assert agent.process.wait(60) == 0
    assert agent.report()[1:] == (4, [])
    assert len(agent.boots("slot-2")) == 1, "it had nothing to finish"


def test_a_dead_slot_without_a_job_does_not_delay_the_end(agent: Agent) -> None:
    agent.start("crash", grace=600)
    assert agent.stop() == 0


def test_a_slot_that_cannot_start_delays_the_end_for_a_few_tries_only(agent: Agent, tmp_path: Path) -> None:
    agent.start("crash", grace=600)
    agent.boot("slot-1", 3)
    job = files.job_directory(tmp_path / "work" / "slot-1" / "jobs", run_id=7, fence=3, step="apply")
    files.make_job_directory(job)
    assert agent.stop() == 0
    assert len([said for said in agent.boots("slot-1") if said["stop_at"]]) == 3


def test_a_disk_that_fails_for_a_moment_does_not_end_a_stopping_agent(agent: Agent, tmp_path: Path) -> None:
    agent.start("work", grace=300)
    directory = agent.order(jobs.waits_for(tmp_path / "go", "exit 4"))
    jobs.until_ready(directory)
    assert agent.process is not None
    agent.process.send_signal(signal.SIGTERM)
    (tmp_path / "unreadable").touch()
    os.kill(agent.boot("slot-1"), signal.SIGKILL)
    agent.boot("slot-1", 2)
    wait_until((tmp_path / "failed").exists)
    (tmp_path / "unreadable").unlink()
    (tmp_path / "go").touch()
    assert agent.process.wait(60) == 0
    assert agent.report()[1:] == (4, [])


def test_what_an_earlier_agent_started_does_not_outlive_the_grace(agent: Agent, tmp_path: Path) -> None:
    """Its keeper is no child of the agent that stops."""
    agent.start("work")
    directory = agent.order("trap '' INT; echo ready; sleep 600")
    jobs.until_ready(directory)
    assert agent.process is not None
    agent.process.kill()
    agent.process.wait()
    os.kill(agent.boot("slot-1"), signal.SIGKILL)
    wait_until(lambda: has_ended(agent.boot("slot-1")))
    agent.start("work", grace=0.3)
    agent.boot("slot-1", 2)
    assert agent.stop() == 1
    wait_until(lambda: not files.is_alive(directory), what="its keeper obeys")


def test_after_the_grace_everything_is_killed(agent: Agent, tmp_path: Path) -> None:
    agent.start("work", grace=0.3)
    directory = agent.order("trap '' INT; echo ready; setsid sleep 60 & sleep 60")
    jobs.until_ready(directory)
    family = agent.family()
    assert agent.stop() == 1
    assert not [one for one in family if processes.is_alive(one.pid)]
    assert agent.report()[1:] == (-9, ["SIGKILL"])  # the slot could still report


def test_a_third_request_ends_the_grace(agent: Agent) -> None:
    agent.start("stubborn", slots=2, grace=600)
    assert agent.process is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        agent.process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            agent.process.wait(0.2)
    agent.process.send_signal(signal.SIGINT)
    assert agent.process.wait(60) == 1  # of a grace of ten minutes


def test_a_second_request_is_told_and_shortens_the_grace(agent: Agent, tmp_path: Path) -> None:
    agent.start("hurried", grace=600)
    assert agent.process is not None
    heard = tmp_path / "slot-1.heard"
    for number, words in ((signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGTERM SIGUSR2")):
        agent.process.send_signal(number)
        wait_until(lambda words=words: heard.exists() and heard.read_text() == words)
    assert agent.process.wait(60) == 0


_PARENT = """
import subprocess, sys, threading
from iacq.adapters.programs.child_process import die_with_parent

def start():
    child = subprocess.Popen(sys.argv[1:], preexec_fn=die_with_parent(), start_new_session=True)
    print(child.pid, flush=True)
    child.wait()

for _ in range(6):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
threading.Thread(target=start).start()
"""


def test_a_parent_that_dies_is_one_request(agent: Agent, tmp_path: Path) -> None:
    """`iacq up` was killed: terraform has its grace all the same, though the kernel signals for several threads."""
    program = [sys.executable, "-m", "tests.keeper.agent_program", str(tmp_path), "1", "600", "hurried", "idle"]
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, *program], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        slot, housekeeping = agent.boot("slot-1"), agent.boot("housekeeping")
        parent.kill()
    heard = tmp_path / "slot-1.heard"
    wait_until(lambda: heard.exists() and heard.read_text())
    os.kill(housekeeping, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{housekeeping}").exists(), what="the agent has looked at what came")
    try:
        assert heard.read_text() == "SIGTERM"
        assert not has_ended(slot)
    finally:
        os.kill(pid, signal.SIGKILL)  # its children have nobody to report to
        os.kill(slot, signal.SIGKILL)


def test_two_requests_at_once_are_two(agent: Agent, tmp_path: Path) -> None:
    """Of two SIGTERMs that wait to be handled a slot would hear one, and be killed before it interrupted anything."""
    (tmp_path / "deaf").touch()
    agent.start("hurried", grace=600)
    assert agent.process is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        agent.process.send_signal(number)
    slot = agent.boot("slot-1")
    wait_until(lambda: pending(slot) == {signal.SIGTERM, signal.SIGUSR2}, what="both wait to be handled")
    (tmp_path / "deaf").unlink()
    assert agent.process.wait(60) == 0
    assert sorted((tmp_path / "slot-1.heard").read_text().split()) == ["SIGTERM", "SIGUSR2"]


def pending(pid: int) -> set[signal.Signals]:
    """Return the signals that wait until a process hears them."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(next(line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd")), 16)
    return {number for number in signal.Signals if mask >> (number - 1) & 1}


def test_what_cannot_be_forked_is_tried_again(agent: Agent, tmp_path: Path) -> None:
    """A machine without room for one process more costs the pod's other slots nothing."""
    agent.start("idle", slots=2)
    other = agent.boot("slot-2")
    (tmp_path / "no-room").touch()
    descriptors = len(os.listdir(f"/proc/{agent.pid}/fd"))
    os.kill(agent.boot("slot-1"), signal.SIGKILL)
    for _ in range(2):
        wait_until((tmp_path / "refused").exists, what="a fork is refused")
        (tmp_path / "refused").unlink()
    wait_until(lambda: len(os.listdir(f"/proc/{agent.pid}/fd")) <= descriptors, what="nothing stays open")
    (tmp_path / "no-room").unlink()
    agent.boot("slot-1", 2)
    assert processes.is_alive(other)
    assert agent.stop() == 0
