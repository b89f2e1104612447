"""Directories are removed once nothing needs them, and never before."""

from pathlib import Path

from iacq import messages
from iacq.domain.run import Run, StartTier, Status
from tests.acceptance import configurations
from tests.acceptance.system import POD, System
from tests.waiting import wait_until


def directories(system: System, run: Run) -> list[Path]:
    """Return what is kept of a run: its directories, its commands, its canonical paths."""
    root = system.settings.work_root
    return [*root.glob(f"pods/{POD}/slot-*/{run.id}-*"), *root.glob(f"pods/{POD}/slot-*/jobs/{run.id}-*"), *root.glob(
        f"runs/{run.id}-*"
    )]  # fmt: skip


def clean_up(system: System) -> None:
    """Let every pod remove what it can, and wait until it has."""
    said = "work directories removed"
    mark = system.mark()
    system.ring(messages.CLEANUP_WORK_DIRS)
    wait_until(lambda: system.said(said, mark), 10, "the pod has cleaned up")


def test_a_directory_is_kept_while_it_is_needed_and_removed_after_the_end(system: System, tmp_path, gate):
    """docs/failures.md 15, 33."""
    system.workspace("kept", configurations.write(tmp_path / "kept", configurations.COUNTED))
    system.spy.hook(f'if [ "$1" = init ]; then {gate.script}; fi')
    run = system.client.enqueue("kept", "plan_and_apply")
    gate.reached()
    clean_up(system)  # under a running init
    gate.open()
    planned = system.wait(run, Status.APPLY_PENDING)
    assert planned.status is Status.APPLY_PENDING, planned.error_text
    clean_up(system)  # while it waits for a person
    system.confirm(planned)
    applied = system.wait(planned)
    assert (applied.status, applied.start_tier) == (Status.APPLIED, StartTier.HOT)
    assert directories(system, run)
    clean_up(system)
    assert not directories(system, run)


def test_a_directory_is_kept_under_a_running_apply_and_after_a_failure(system: System, tmp_path, gate):
    text = gate.configuration(after="exit 1")
    system.workspace("fails", configurations.write(tmp_path / "fails", text))
    run = system.plan("fails")
    system.confirm(run)
    gate.reached()
    clean_up(system)
    gate.open()
    assert system.wait(run).status is Status.FAILED
    clean_up(system)
    assert any((path / "tree" / "plan.out").exists() for path in directories(system, run))


def test_a_discarded_plan_leaves_nothing(system: System, tmp_path):
    system.workspace("gone", configurations.write(tmp_path / "gone", configurations.COUNTED))
    run = system.plan("gone")
    system.client.discard(run.id)
    clean_up(system)
    assert not directories(system, run)
