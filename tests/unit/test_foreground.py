"""The foreground: real programs, restarted when they die, stopped in order, never left behind."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from iacq.adapters.programs.foreground import Foreground
from iacq.adapters.programs.interrupting import signals_as_interrupt
from iacq.adapters.programs.supervised_program import Program, Restarts
from iacq.errors import Conflict, Unavailable
from tests import processes
from tests.waiting import wait_until

FAST = Restarts(first=0.05, longest=0.1, attempts=3, settled=60)
STEADY = "exec sleep 600"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.1; done"

UP = """
import os, sys, pathlib
from iacq.adapters.programs.foreground import Foreground
from iacq.adapters.programs.interrupting import signals_as_interrupt
from iacq.adapters.programs.supervised_program import Program
home, script = pathlib.Path(sys.argv[1]), sys.argv[2]
program = Program(name="child", argv=("/bin/sh", "-c", script), environment={"PATH": os.defpath},
                  log=home / "child.log", grace=30)
with signals_as_interrupt(), Foreground(home, say=lambda text: print(text, flush=True)) as foreground:
    try:
        foreground.start(program)
        print("pid", foreground.pids()["child"], flush=True)
        foreground.wait()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
print("over", flush=True)
"""


class Said(list[str]):
    """What a foreground said."""

    def has(self, text: str) -> bool:
        return any(text in said for said in self)


@pytest.fixture
def said() -> Said:
    return Said()


def program(home: Path, script: str, name: str = "child", grace: float = 10) -> Program:
    return Program(
        name=name,
        argv=("/bin/sh", "-c", script),
        environment={"PATH": os.defpath},
        log=home / "log" / f"{name}.log",
        grace=grace,
    )


def test_programs_run_in_a_session_of_their_own_and_stop(home, said):
    with Foreground(home, say=said.append) as foreground:
        foreground.start(program(home, STEADY))
        pid = foreground.pids()["child"]
        assert os.getsid(pid) == pid
        assert os.getpgid(pid) == pid
    assert not processes.is_alive(pid)
    assert said == [f"child: started, process {pid}", "child: stopping", "child: stopped, SIGTERM"]


def test_the_environment_is_the_given_one_and_output_goes_to_the_log(home, said):
    with Foreground(home, say=said.append) as foreground:
        foreground.start(program(home, f"env; echo to stderr >&2; {STEADY}"))
        log = home / "log" / "child.log"
        text = wait_until(lambda: log.exists() and "to stderr" in log.read_text() and log.read_text())
    assert "IACQ_HOME" not in text
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_they_stop_in_reverse_order(home, said):
    with Foreground(home, say=said.append) as foreground:
        for name in ("first", "second", "third"):
            foreground.start(program(home, STEADY, name))
    stopped = [text.split(":")[0] for text in said if "stopped" in text]
    assert stopped == ["third", "second", "first"]


def test_those_started_together_stop_together(home, said):
    with Foreground(home, say=said.append) as foreground:
        foreground.start(program(home, STEADY, "first"))
        foreground.start(program(home, STEADY, "pod-1"), program(home, STEADY, "pod-2"))
    order = [text for text in said if "stop" in text]
    assert order[:2] == ["pod-2: stopping", "pod-1: stopping"]
    assert order[-2:] == ["first: stopping", "first: stopped, SIGTERM"]


def test_what_dies_starts_again_and_says_its_last_lines(home, said):
    with Foreground(home, say=said.append, restarts=FAST) as foreground:
        foreground.start(program(home, f"echo my last words; {STEADY}"))
        pid = foreground.pids()["child"]
        wait_until((home / "log" / "child.log").read_text)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: foreground.pids().get("child") not in {None, pid}, what="it starts again")
    assert said.has("child: ended with SIGKILL; starts again in 0.05 s")
    assert said.has("my last words")


def test_what_dies_too_often_is_given_up_and_named(home, said):
    with Foreground(home, say=said.append, restarts=FAST) as foreground:
        foreground.start(program(home, STEADY, "steady"), program(home, "echo no database; exit 7"))
        with pytest.raises(Unavailable, match=r"child: ended with exit code 7; .*given up[\s\S]*no database"):
            foreground.wait(60)
        assert list(foreground.pids()) == ["steady"]
    assert sum("started" in text for text in said if text.startswith("child")) == FAST.attempts


def test_a_program_that_does_not_exist_is_refused(home, said):
    missing = Program(name="child", argv=("/no/such",), environment={}, log=home / "missing.log")
    with Foreground(home, say=said.append) as foreground:
        with pytest.raises(Unavailable, match=r"cannot start /no/such: .*No such file"):
            foreground.start(missing)
        foreground.start(program(home, STEADY, "next"))


def test_a_stubborn_program_is_killed_after_its_grace(home, said):
    with Foreground(home, say=said.append) as foreground:
        foreground.start(program(home, STUBBORN, grace=0.2))
        wait_until((home / "log" / "child.log").read_text)
    assert said[-1] == "child: stopped, SIGKILL"


def test_hurry_asks_again_and_then_kills(home, said):
    patient = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.1; done"
    log = home / "log" / "child.log"
    with Foreground(home, say=said.append) as foreground:
        foreground.start(program(home, patient, grace=600))
        wait_until(lambda: "ready" in log.read_text())
        stopping = threading.Thread(target=foreground.stop)
        stopping.start()
        wait_until(lambda: log.read_text().count("asked") == 1)
        foreground.hurry()
        wait_until(lambda: log.read_text().count("asked") == 2)
        foreground.hurry()
        stopping.join(60)
        assert not stopping.is_alive()
    assert said[-1] == "child: stopped, SIGKILL"


def test_nothing_starts_once_it_stopped(home, said):
    with Foreground(home, say=said.append) as foreground:
        pass
    with pytest.raises(Unavailable, match="stopped"):
        foreground.start(program(home, STEADY))
    foreground.stop()


def test_a_second_one_is_refused_and_names_the_first(home, said):
    with (
        Foreground(home, say=said.append),
        pytest.raises(Conflict, match=f"process {os.getpid()}") as caught,
        Foreground(home, say=said.append),
    ):
        pass
    assert f"kill {os.getpid()}" in caught.value.hint
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    with Foreground(home, say=said.append):  # the lock is free again
        pass


def test_a_terminal_that_is_gone_stops_nobody(home):
    def say(text: str) -> None:
        raise BrokenPipeError

    with Foreground(home, say=say) as foreground:
        foreground.start(program(home, STEADY))
        assert processes.is_alive(foreground.pids()["child"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_interrupt(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), signals_as_interrupt():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


class TestAsAProcess:
    def up(self, home: Path, script: str) -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-c", UP, str(home), script],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout
        for line in process.stdout:
            if line.startswith("pid "):
                return process, int(line.split()[1])
        raise AssertionError("it ended")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_stops_all_in_order(self, home, number):
        process, child = self.up(home, STEADY)
        os.killpg(process.pid, number)  # what a terminal does: to the whole group
        rest, _ = process.communicate(timeout=120)
        assert rest.split("\n") == ["interrupted", "child: stopping", "child: stopped, SIGTERM", "over", ""]
        assert process.returncode == 0
        assert not processes.is_alive(child)

    def test_three_interrupts_end_a_stubborn_program(self, home):
        process, child = self.up(home, STUBBORN)
        wait_until((home / "child.log").read_text)
        assert process.stdout
        os.kill(process.pid, signal.SIGINT)
        while process.stdout.readline() != "child: stopping\n":
            pass
        os.kill(process.pid, signal.SIGINT)  # two numbers: one that is pending twice arrives once
        os.kill(process.pid, signal.SIGTERM)
        rest, _ = process.communicate(timeout=120)
        assert "child: stopped, SIGKILL" in rest
        assert not processes.is_alive(child)

    def test_killing_it_leaves_nothing(self, home):
        process, child = self.up(home, STEADY)
        process.kill()
        process.communicate()
        wait_until(lambda: not processes.is_alive(child), what="the child ends")


@pytest.mark.parametrize(("ends", "delay"), [(1, 0.5), (2, 1), (3, 2), (7, 30), (8, None)])
def test_restarts_back_off_and_end(ends, delay):
    assert Restarts().delay(ends) == delay
