"""Directories of pods that are gone: docs/failures.md 15, 33."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from iacq.adapters.local_pods import directories
from iacq.keeper import files, lock
from tests.store.world import at_once


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pods, each with a run's directory and the link that leads to it."""
    work = tmp_path / "work"
    (work / "runs").mkdir(mode=0o700, parents=True)
    work.chmod(0o700)
    for pod in ("gone", "other"):
        tree = work / "pods" / pod / "slot-1" / f"{pod}-1" / "tree"
        tree.mkdir(parents=True)
        (tree.parent / "scratch").mkdir()
        (work / "pods" / pod / "slot-1" / "jobs").mkdir()
        (work / "runs" / f"{pod}-1").symlink_to(tree)
    return work


@contextlib.contextmanager
def held(root: Path, pod: str) -> Iterator[None]:
    descriptor = directories.hold(root, pod)
    try:
        yield
    finally:
        os.close(descriptor)


def left(root: Path) -> tuple[set[str], set[str]]:
    return {path.name for path in (root / "pods").iterdir()}, {path.name for path in (root / "runs").iterdir()}


def test_a_pod_that_nobody_knows_leaves_nothing(root: Path) -> None:
    with held(root, "gone"):
        pass
    assert directories.remove_others(root, {"other"}) == 1
    assert left(root) == ({"other"}, {"other-1"})
    assert directories.remove_others(root, {"other"}) == 0


def test_one_that_lives_is_left_alone_though_nobody_knows_it(root: Path) -> None:
    before = left(root)
    with held(root, "gone"), held(root, "gone"):
        assert directories.remove_others(root, {"other"}) == 0
    assert before[0] | {".gone.lock"} == left(root)[0]
    assert before[1] == left(root)[1]


def test_one_whose_terraform_lives_is_left_alone(root: Path) -> None:
    job = files.job_directory(root / "pods" / "gone" / "slot-1" / "jobs", run_id=1, fence=1, step="apply")
    files.make_job_directory(job)
    descriptor = lock.hold(job)
    assert directories.remove_others(root, {"other"}) == 0
    os.close(descriptor)
    assert directories.remove_others(root, {"other"}) == 1


def test_what_an_interrupted_one_left_is_removed(root: Path) -> None:
    (root / "pods" / "gone").rename(root / "pods" / ".gone-gone.0a1b")
    assert directories.remove_others(root, {"other"}) == 0
    assert left(root) == ({"other"}, {"other-1"})


def test_a_pod_that_begins_while_its_directory_is_removed_holds_the_lock_that_others_find(root: Path) -> None:
    for _ in range(20):
        (root / "pods" / "gone" / "slot-1").mkdir(parents=True, exist_ok=True)
        removed, descriptor = at_once(
            lambda: directories.remove_others(root, {"other"}), lambda: directories.hold(root, "gone")
        )
        assert removed in (0, 1)
        (root / "pods" / "gone" / "slot-1").mkdir(parents=True, exist_ok=True)
        assert directories.remove_others(root, {"other"}) == 0
        os.close(descriptor)


def test_a_lock_without_its_directory_goes_when_nobody_holds_it(root: Path) -> None:
    """Whoever runs pods removes the directory of one that it deletes, and does not know of the lock."""
    with held(root, "deleted"), held(root, "other"):
        directories.remove_others(root, {"gone", "other"})
        assert left(root)[0] == {"gone", "other", ".deleted.lock", ".other.lock"}
    directories.remove_others(root, {"gone", "other"})
    assert left(root)[0] == {"gone", "other", ".other.lock"}
