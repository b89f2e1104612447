"""A keeper and one client: programs start, end, are signalled, and are refused."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iacq.adapters.keeper_client import KeeperClient
from iacq.errors import Conflict, Unavailable
from iacq.keeper import files, process, signals
from iacq.keeper.agent import single_keeper
from iacq.keeper.forkserver import ForkServer
from iacq.keeper.seat import Seat
from iacq.ports import EndUnknown
from tests.keeper import jobs
from tests.processes import is_alive
from tests.waiting import wait_until


@pytest.fixture
def client() -> Iterator[KeeperClient]:
    with single_keeper() as end:
        yield KeeperClient(end)


def test_a_program_runs_to_its_end(client: KeeperClient, tmp_path: Path) -> None:
    job = jobs.shell_job(tmp_path, 'echo "out in $PWD"; echo err >&2; exit 3')
    assert client.start(job)
    ended = client.wait(job.directory, 10)
    assert ended is not None
    assert (ended.returncode, ended.signals) == (3, ())
    assert abs(ended.ended_at - time.time() * 1000) < 60_000
    assert jobs.out(job.directory) == f"out in {tmp_path}\n"
    assert (job.directory / files.ERR).read_text() == "err\n"
    assert not files.is_alive(job.directory)
    assert (job.directory / files.OUT).stat().st_mode & 0o777 == 0o600
    assert job.directory.stat().st_mode & 0o777 == 0o700


def test_what_is_on_disk_names_program_and_keeper(client: KeeperClient, tmp_path: Path) -> None:
    job = jobs.shell_job(tmp_path, jobs.waits_for(tmp_path / "go"), run_id=7)
    client.start(job)
    launch = jobs.launched(job.directory)
    assert (launch.run_id, launch.fence, launch.phase, launch.never) == (7, 1, "apply", False)
    assert launch.running
    assert launch.keeper_running
    assert files.is_alive(job.directory)
    assert client.wait(job.directory, 0.05) is None
    (tmp_path / "go").touch()
    assert client.wait(job.directory, 10) is not None
    result = files.read_result(job.directory)
    assert result is not None
    assert (result.run_id, result.fence, result.never) == (7, 1, False)
    assert client.wait(job.directory, 0) is not None  # again, from the disk


def test_much_output_without_a_newline_stops_nothing(client: KeeperClient, tmp_path: Path) -> None:
    # docs/failures.md 31
    job = jobs.shell_job(tmp_path, "head -c 1000000 /dev/zero | tr '\\0' x")
    client.start(job)
    ended = client.wait(job.directory, 10)
    assert ended is not None
    assert ended.returncode == 0
    assert (job.directory / files.OUT).stat().st_size == 1_000_000


def test_a_large_environment_arrives(client: KeeperClient, tmp_path: Path) -> None:
    environment = {f"TF_VAR_v{number}": "ä" * 30_000 for number in range(10)}
    job = jobs.shell_job(tmp_path, 'echo "${#TF_VAR_v9}"', environment=environment)
    assert client.start(job)
    assert client.wait(job.directory, 10) is not None
    assert jobs.out(job.directory).strip() in {"30000", "60000"}


def test_a_program_gets_no_descriptor_but_its_own(client: KeeperClient, tmp_path: Path) -> None:
    job = jobs.shell_job(tmp_path, "ls -l /proc/$$/fd; env")
    client.start(job)
    assert client.wait(job.directory, 10) is not None
    lines = jobs.out(job.directory).splitlines()
    links = [line.rpartition(" -> ") for line in lines if " -> " in line]
    found = {left.split()[-1]: target for left, _, target in links}
    directory = job.directory
    assert found == {
        "0": "/dev/null",
        "1": str(directory / "out"),
        "2": str(directory / "err"),
        "3": str(directory / "alive.lock"),
    }
    names = {line.split("=")[0] for line in lines if "=" in line}
    assert names == {"PATH", "PWD"} | ({"_"} & names)


def test_a_program_begins_with_default_signals_in_a_session_of_its_own(client: KeeperClient, tmp_path: Path) -> None:
    job = jobs.shell_job(tmp_path, "cat /proc/self/status /proc/self/stat")
    client.start(job)
    assert client.wait(job.directory, 10) is not None
    text = jobs.out(job.directory)
    status = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
    ordinary = 0x7FFFFFFF  # the C library keeps two real-time signals for itself
    assert int(status["SigIgn"], 16) & ordinary == int(status["SigBlk"], 16) == 0
    session = int(text.splitlines()[-1].rpartition(")")[2].split()[3])
    assert session == jobs.program_of(job.directory)


def test_a_program_that_cannot_be_executed_says_why(client: KeeperClient, tmp_path: Path) -> None:
    job = jobs.shell_job(tmp_path, "true")
    missing = type(job)(**{**vars(job), "argv": (str(tmp_path / "terraform"),)})
    assert client.start(missing)
    ended = client.wait(job.directory, 10)
    assert ended is not None
    assert ended.returncode == 127
    assert "terraform" in (job.directory / files.ERR).read_text()
    assert "No such file" in (job.directory / files.ERR).read_text()


def test_many_jobs_one_after_the_other(client: KeeperClient, tmp_path: Path) -> None:
    for run_id in range(20):
        job = jobs.shell_job(tmp_path, f"exit {run_id}", run_id=run_id)
        assert client.start(job)
        ended = client.wait(job.directory, 10)
        assert ended is not None
        assert ended.returncode == run_id
    assert [found.run_id for found in files.list_jobs(tmp_path / "slot-1" / "jobs")] == list(range(20))


def test_interrupt_is_sent_once_in_the_life_of_a_job(client: KeeperClient, tmp_path: Path) -> None:
    go = tmp_path / "go"
    job = jobs.shell_job(tmp_path, f"trap 'echo int' INT; {jobs.waits_for(go, 'exit 9')}")
    client.start(job)
    jobs.until_ready(job.directory)
    asked = threading.Thread(target=client.interrupt, args=(job.directory,))
    asked.start()  # from another thread, while this one waits
    assert client.wait(job.directory, 0.2) is None
    asked.join()
    client.interrupt(job.directory)
    signals.request(job.directory, signals.Signal.INTERRUPT)
    jobs.until_ready(job.directory, "int")
    go.touch()
    ended = client.wait(job.directory, 10)
    assert ended is not None
    assert (ended.returncode, ended.signals) == (9, ("SIGINT",))
    assert jobs.out(job.directory).count("int") == 1


def test_a_request_file_is_obeyed(client: KeeperClient, tmp_path: Path) -> None:
    job = jobs.shell_job(tmp_path, "trap '' INT; echo ready; sleep 60")
    client.start(job)
    jobs.until_ready(job.directory)
    signals.request(job.directory, signals.Signal.KILL)
    ended = client.wait(job.directory, 10)
    assert ended is not None
    assert (ended.returncode, ended.signals) == (-signal.SIGKILL, ("SIGKILL",))


def test_kill_takes_grandchildren_in_sessions_of_their_own(client: KeeperClient, tmp_path: Path) -> None:
    # docs/failures.md 28
    script = "setsid sh -c 'echo grandchild $$; sleep 60' & sleep 0.2; wait"
    job = jobs.shell_job(tmp_path, script)
    client.start(job)
    jobs.until_ready(job.directory, "grandchild")
    grandchild = int(jobs.out(job.directory).split()[1])
    client.kill(job.directory)
    ended = client.wait(job.directory, 10)
    assert ended is not None
    assert (ended.returncode, ended.signals) == (-signal.SIGKILL, ("SIGKILL",))
    assert not is_alive(grandchild)
    assert not files.is_alive(job.directory)


def test_an_end_is_reported_when_nothing_is_left(client: KeeperClient, tmp_path: Path) -> None:
    script = "setsid sh -c 'echo left $$; exec sleep 60 3>&-' & while ! grep -q left $OUT; do :; done; exit 4"
    job = jobs.shell_job(tmp_path, "true")
    environment = {**job.environment, "OUT": str(job.directory / files.OUT)}
    job = jobs.shell_job(tmp_path, script, environment=environment)
    client.start(job)
    ended = client.wait(job.directory, 10)
    assert ended is not None
    assert (ended.returncode, ended.signals) == (4, ())
    assert not is_alive(int(jobs.out(job.directory).split()[1]))


def test_nothing_starts_after_the_lease(client: KeeperClient, tmp_path: Path) -> None:
    job = jobs.shell_job(tmp_path, "touch started", lease=-0.001)
    assert not client.start(job)
    result = files.read_result(job.directory)
    assert result is not None
    assert result.never
    assert client.word(job.directory, run_id=1, fence=1)
    with pytest.raises(Conflict, match="never started"):
        client.wait(job.directory, 1)
    # The word holds, also for a later order.
    assert not client.start(jobs.shell_job(tmp_path, "touch started"))
    assert not (tmp_path / "started").exists()


def test_the_word_is_given_before_anything_exists(client: KeeperClient, tmp_path: Path) -> None:
    job = jobs.shell_job(tmp_path, "touch started")
    assert client.word(job.directory, run_id=1, fence=1)
    assert jobs.launched(job.directory).never
    assert not client.start(job)
    assert not (tmp_path / "started").exists()


def test_no_word_for_what_was_started(client: KeeperClient, tmp_path: Path) -> None:
    job = jobs.shell_job(tmp_path, "exit 0")
    client.start(job)
    assert not client.word(job.directory, run_id=1, fence=1)
    assert client.wait(job.directory, 10) is not None
    assert not client.word(job.directory, run_id=1, fence=1)
    with pytest.raises(Conflict) as refused:
        client.start(job)
    assert refused.value.code == "already_started"


def test_one_program_at_a_time(client: KeeperClient, tmp_path: Path) -> None:
    first = jobs.shell_job(tmp_path, "sleep 60")
    client.start(first)
    with pytest.raises(Conflict) as refused:
        client.start(jobs.shell_job(tmp_path, "true", run_id=2))
    assert refused.value.code == "busy"
    client.kill(first.directory)
    assert client.wait(first.directory, 10) is not None


def test_a_new_slot_process_goes_on_with_the_job(tmp_path: Path) -> None:
    server, seat = ForkServer(), Seat()
    seat.fill(server)
    ours, theirs = socket.socketpair()
    seat.connect(theirs)
    job = jobs.shell_job(tmp_path, jobs.waits_for(tmp_path / "go", "exit 5"))
    first = KeeperClient(ours)
    first.start(job)
    first.close()
    ours, theirs = socket.socketpair()
    seat.connect(theirs)
    second = KeeperClient(ours)
    assert second.wait(job.directory, 0.1) is None
    (tmp_path / "go").touch()
    ended = second.wait(job.directory, 10)
    assert ended is not None
    assert ended.returncode == 5
    assert second.start(jobs.shell_job(tmp_path, "true", run_id=2))
    seat.close()  # orphaned: it ends with its job
    server.close()
    wait_until(lambda: second.gone, what="the idle keeper without an agent leaves")
    os.waitpid(server.pid, 0)
    second.close()


def test_without_its_keeper_a_client_starts_nothing_and_says_so(tmp_path: Path) -> None:
    with single_keeper() as end:
        client = KeeperClient(end, unknown_after=0.3)
        job = jobs.shell_job(tmp_path, jobs.waits_for(tmp_path / "go"))
        client.start(job)
        assert not client.gone
        program = jobs.program_of(job.directory)
        os.kill(jobs.keeper_of(job.directory), signal.SIGKILL)
        wait_until(lambda: client.gone)
        assert client.wait(job.directory, 0.5) is None  # it lives
        late = jobs.shell_job(tmp_path, "touch started", run_id=2)
        with pytest.raises(Unavailable) as refused:
            client.start(late)
        assert refused.value.code == "keeper_gone"
        assert client.word(late.directory, run_id=2, fence=1)
        assert not client.word(job.directory, run_id=1, fence=1)
        client.kill(job.directory)  # nobody is there to obey
        os.kill(program, signal.SIGKILL)
        with pytest.raises(EndUnknown):
            wait_until(lambda: client.wait(job.directory, 0.1))


def test_the_result_is_left_to_a_keeper_that_is_stopped(tmp_path: Path) -> None:
    with single_keeper() as end:
        client = KeeperClient(end, unknown_after=0)
        job = jobs.shell_job(tmp_path, jobs.waits_for(tmp_path / "go", "exit 5"))
        client.start(job)
        keeper = jobs.keeper_of(job.directory)
        os.kill(keeper, signal.SIGSTOP)
        try:
            (tmp_path / "go").touch()
            wait_until(lambda: not files.is_alive(job.directory), what="the program has ended")
            for _ in range(2):
                assert client.wait(job.directory, 0.1) is None
        finally:
            os.kill(keeper, signal.SIGCONT)
        ended = wait_until(lambda: client.wait(job.directory, 10))
        assert ended.returncode == 5


def test_a_keeper_that_dies_at_the_start_leaves_no_doubt(tmp_path: Path) -> None:
    with single_keeper() as end:
        client = KeeperClient(end)
        done = jobs.shell_job(tmp_path, "true", run_id=1)
        client.start(done)
        client.wait(done.directory, 10)
        keeper = jobs.keeper_of(done.directory)
        os.kill(keeper, signal.SIGSTOP)
        job = jobs.shell_job(tmp_path, "touch started", run_id=2)
        answers: list[bool] = []
        starting = threading.Thread(target=lambda: answers.append(client.start(job)))
        starting.start()
        wait_until(job.directory.is_dir)
        os.kill(keeper, signal.SIGKILL)
        starting.join(60)
        assert answers == [False]
        assert jobs.launched(job.directory).never
        assert not (tmp_path / "started").exists()


def test_a_keeper_has_nothing_of_its_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IACQ_ENCRYPTION_KEYS", "secret")
    with single_keeper() as end:
        client = KeeperClient(end)
        job = jobs.shell_job(tmp_path, "true")
        client.start(job)
        client.wait(job.directory, 10)
        keeper = jobs.keeper_of(job.directory)
        with contextlib.suppress(PermissionError):  # closed to users other than root, even to itself
            assert Path(f"/proc/{keeper}/environ").read_bytes() == b""
        found = process.read(keeper)
        assert found is not None
        assert found.session == keeper


def test_a_result_that_cannot_be_written_is_still_told_and_written_later(client: KeeperClient, tmp_path: Path) -> None:
    job = jobs.shell_job(tmp_path, "true")
    obstacle = job.directory / files.RESULT
    job = jobs.shell_job(tmp_path, f"mkdir {obstacle}; exit 3")
    client.start(job)
    for _ in range(2):  # told once, and answered when asked again
        ended = client.wait(job.directory, 10)
        assert ended is not None
        assert ended.returncode == 3
    assert files.read_result(job.directory) is None
    obstacle.rmdir()
    result = wait_until(lambda: files.read_result(job.directory))
    assert result is not None
    assert result.returncode == 3


def test_a_job_that_cannot_be_recorded_is_not_started(client: KeeperClient, tmp_path: Path) -> None:
    (tmp_path / "slot-1").write_text("a file where a directory should be")
    with pytest.raises(Unavailable, match="job directory"):
        client.start(jobs.shell_job(tmp_path, "touch started"))
    (tmp_path / "slot-1").unlink()
    assert client.start(jobs.shell_job(tmp_path, "true"))
    assert client.wait(jobs.shell_job(tmp_path, "true").directory, 10) is not None
    assert not (tmp_path / "started").exists()
