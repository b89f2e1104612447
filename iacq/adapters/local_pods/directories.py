"""Whose a pod's directory is: WORK_DIR/pods/<pod> belongs to the pod's processes while one of them lives.

An agent holds the lock beside it, and its children inherit that. Whoever removes the directory of a pod that is gone
locks it against an agent of the same name that begins just then.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from iacq import log
from iacq.adapters import private_directory, short_directory
from iacq.keeper import files

logger = log.get(__name__)

_GONE = ".gone-"
_PODS, _LINKS = "pods", "runs"


def hold(work_root: Path, pod_name: str) -> int:
    """Say that a process of this pod lives, for as long as it or a child of it does; returns the descriptor.

    Waits while somebody removes the directory. Raises OSError.
    """
    private_directory.ensure(work_root)
    (work_root / _PODS).mkdir(mode=0o700, exist_ok=True)
    while True:
        descriptor = _open(work_root, pod_name)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _is_present(descriptor, _lock_file(work_root, pod_name)):
            return descriptor
        os.close(descriptor)


def remove_others(work_root: Path, known: Collection[str]) -> int:
    """Remove the directories of pods that are not known and of which nothing lives; returns how many.

    known: must have been read before, since a pod holds its lock before it becomes known. Raises OSError.
    """
    removed = 0
    for directory in sorted((work_root / _PODS).iterdir()):
        if directory.name.startswith(_GONE):
            _remove(work_root, directory)  # somebody was interrupted
        elif directory.is_dir() and directory.name not in known and _take(work_root, directory):
            removed += 1
    _remove_locks(work_root, known)
    return removed


def _remove_locks(work_root: Path, known: Collection[str]) -> None:
    """Remove the locks of pods that are gone with their directories: whoever runs pods removes those, and no lock."""
    for lock in (work_root / _PODS).glob(".*.lock"):
        pod_name = lock.name.removeprefix(".").removesuffix(".lock")
        if pod_name in known or lock.with_name(pod_name).exists():
            continue
        with _alone(work_root, pod_name) as alone:
            if alone:
                lock.unlink()


def _take(work_root: Path, directory: Path) -> bool:
    with _alone(work_root, directory.name) as alone:
        if not alone or _is_alive(directory):
            return False
        gone = directory.with_name(f"{_GONE}{directory.name}.{secrets.token_hex(4)}")
        directory.rename(gone)
        _remove(work_root, gone)
        _lock_file(work_root, directory.name).unlink()
    logger.info("removed what a pod left that is gone", extra=log.ids(pod=directory.name))
    return True


def _is_alive(directory: Path) -> bool:
    jobs = (job for slot in directory.glob("slot-*") for job in files.list_jobs(slot / "jobs"))
    return any(files.is_alive(job.path) for job in jobs)


def _remove(work_root: Path, gone: Path) -> None:
    """Remove a directory that was renamed, with the canonical paths that led into it."""
    former = gone.with_name(gone.name.removeprefix(_GONE).rpartition(".")[0])
    links = work_root / _LINKS
    for link in links.iterdir() if links.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            if link.is_symlink() and former in link.readlink().parents:
                link.unlink()
    for scratch in gone.glob("slot-*/*/scratch"):
        short_directory.forget(former / scratch.relative_to(gone))
    shutil.rmtree(gone, ignore_errors=True)


@contextlib.contextmanager
def _alone(work_root: Path, pod_name: str) -> Iterator[bool]:
    descriptor = _open(work_root, pod_name)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield _is_present(descriptor, _lock_file(work_root, pod_name))
    finally:
        os.close(descriptor)


def _open(work_root: Path, pod_name: str) -> int:
    return os.open(_lock_file(work_root, pod_name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock_file(work_root: Path, pod_name: str) -> Path:
    return work_root / _PODS / f".{pod_name}.lock"


def _is_present(descriptor: int, file: Path) -> bool:
    """Tell whether the lock that was got is the one that others find."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
