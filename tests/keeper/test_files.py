"""What is on disk, also when it is torn, foreign or contested."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iacq.keeper import files, lock, process, respawn, signals


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "\0\0", '{"pid": "7", "start_time": true}'])
def test_a_launch_that_cannot_be_read_may_have_started(tmp_path: Path, text: str) -> None:
    (tmp_path / files.LAUNCH).write_text(text)
    launch = files.read_launch(tmp_path)
    assert launch is not None
    assert not launch.never
    assert launch.pid is None
    assert not launch.running
    assert not files.give_word(tmp_path, run_id=1, fence=1)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"outcome": "ended"}', '{"outcome": "ended", "returncode": "0"}'])
def test_a_result_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / files.RESULT).write_text(text)
    assert files.read_result(tmp_path) is None
    # and is replaced by one that can
    content = files.ended_content(tmp_path, returncode=0, wall_ms=5, run_id=1, fence=2)
    files.write_result(tmp_path, content)
    assert files.read_result(tmp_path) == files.parse_result(content)


def test_the_first_result_stays(tmp_path: Path) -> None:
    for returncode in (3, 4):
        content = files.ended_content(tmp_path, returncode=returncode, wall_ms=5, run_id=1, fence=2)
        files.write_result(tmp_path, content)
    result = files.read_result(tmp_path)
    assert result is not None
    assert result.returncode == 3
    assert os.listdir(tmp_path) == [files.RESULT] or not [name for name in os.listdir(tmp_path) if name[0] == "."]


def test_a_word_without_its_result_is_completed(tmp_path: Path) -> None:
    (tmp_path / files.LAUNCH).write_text('{"never": true, "run_id": 1, "fence": 1}')
    assert files.give_word(tmp_path, run_id=1, fence=1)
    result = files.read_result(tmp_path)
    assert result is not None
    assert result.never


def test_another_boot_or_another_process_of_that_pid_is_not_alive(tmp_path: Path) -> None:
    own = process.read_present(os.getpid())
    files.create_launch(tmp_path, program=own, keeper=own, run_id=1, fence=1, phase="plan")
    launch = files.read_launch(tmp_path)
    assert launch is not None
    assert launch.running
    text = (tmp_path / files.LAUNCH).read_text()
    for changed in (
        text.replace(process.boot_id(), "another"),
        text.replace(f'"start_time": {own.start_time}', f'"start_time": {own.start_time - 1}'),
    ):
        assert changed != text
        (tmp_path / files.LAUNCH).write_text(changed)
        assert not files.is_alive(tmp_path)


def test_the_lock_lives_with_whoever_inherited_it(tmp_path: Path) -> None:
    assert not files.is_alive(tmp_path)
    descriptor = lock.hold(tmp_path)
    program = "print('ready', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[descriptor]
    )
    os.close(descriptor)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"
    assert files.is_alive(tmp_path)
    assert lock.holders(tmp_path) == {holder.pid}
    only_looks = os.open(tmp_path / lock.LOCK, os.O_RDWR)
    assert lock.holders(tmp_path) == {holder.pid}
    os.close(only_looks)
    holder.communicate(b"\n", timeout=300)
    assert not files.is_alive(tmp_path)


def test_jobs_are_listed_in_order_and_foreign_names_left_out(tmp_path: Path) -> None:
    assert files.list_jobs(tmp_path / "jobs") == []
    for run_id, fence, step in ((10, 1, "plan"), (9, 2, "apply"), (9, 2, "show")):
        files.make_job_directory(files.job_directory(tmp_path / "jobs", run_id=run_id, fence=fence, step=step))
    (tmp_path / "jobs" / "lost+found").mkdir()
    (tmp_path / "jobs" / "1-1-file").touch()
    found = files.list_jobs(tmp_path / "jobs")
    assert [(job.run_id, job.fence, job.step) for job in found] == [
        (9, 2, "apply"),
        (9, 2, "show"),
        (10, 1, "plan"),
    ]
    for job in found:
        files.forget(job.path)
        files.forget(job.path)
    assert files.list_jobs(tmp_path / "jobs") == []


def test_a_signal_is_marked_once(tmp_path: Path) -> None:
    assert signals.mark(tmp_path, signals.Signal.INTERRUPT)
    assert not signals.mark(tmp_path, signals.Signal.INTERRUPT)
    assert signals.sent(tmp_path) == ["SIGINT"]
    signals.request(tmp_path / "gone", signals.Signal.KILL)


def test_waits_double_up_to_the_longest_and_begin_again_after_a_healthy_life() -> None:
    backoff = respawn.Backoff()
    waits = [backoff.after(lived=0.5) for _ in range(9)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert backoff.after(lived=respawn.HEALTHY) == 0.1
    assert backoff.after(lived=1) == 0.2
