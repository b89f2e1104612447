from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from iacq.adapters.artifacts_files import FileArtifacts
from iacq.errors import InvalidInput, Unavailable


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../x",
        "a//b",
        "a/",
        ".",
        ".drafts/x",
        "-x",
        "a\nb",
        "a b",
        "a\0",
        "ä",
        "a\n",
        "x" * 201,
    ],
)
def test_keys_that_are_no_names_are_refused(tmp_path: Path, key: str) -> None:
    store = FileArtifacts(tmp_path / "root")
    for use in (lambda: store.put(key, b""), lambda: store.get(key), lambda: store.delete(key)):
        with pytest.raises(InvalidInput, match="is not a valid artifact key"):
            use()
    assert not (tmp_path / "root").exists()


def test_files_and_directories_are_private(tmp_path: Path) -> None:
    FileArtifacts(tmp_path / "root").put("runs/42/plan", b"x")
    modes = {
        str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777
        for path in [tmp_path / "root", *(tmp_path / "root").rglob("*")]
    }
    assert modes == {
        "root": 0o700,
        "root/.drafts": 0o700,
        "root/runs": 0o700,
        "root/runs/42": 0o700,
        "root/runs/42/plan": 0o600,
    }


def test_no_directory_and_no_draft_is_left(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path / "root")
    store.put("runs/42/plan", b"x")
    store.put("runs/42/plan", b"y")
    store.delete("runs/42/plan")
    assert list((tmp_path / "root").rglob("*")) == [tmp_path / "root" / ".drafts"]


def test_drafts_of_killed_writers_are_swept(tmp_path: Path) -> None:
    drafts = tmp_path / "root" / ".drafts"
    drafts.mkdir(parents=True)
    for name, age in (("old", 7200), ("young", 0)):
        (drafts / name).touch()
        now = (drafts / name).stat().st_mtime
        os.utime(drafts / name, (now - age, now - age))
    FileArtifacts(tmp_path / "root").put("x", b"")
    assert [path.name for path in drafts.iterdir()] == ["young"]


FULL = """
import resource, signal, sys
from pathlib import Path
from iacq.adapters.artifacts_files import FileArtifacts
from iacq.errors import Unavailable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
store = FileArtifacts(Path(sys.argv[1]))
store.put("runs/1/plan", b"old")
try:
    store.put("runs/1/plan", bytes(2000))
except Unavailable as error:
    print(error.message)
print(store.get("runs/1/plan"), [path.name for path in (Path(sys.argv[1]) / ".drafts").iterdir()])
"""


def test_a_write_that_fails_leaves_the_old_value_and_no_draft(tmp_path: Path) -> None:
    assert resource.RLIMIT_FSIZE is not None
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "root")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.stdout == (
        f"the artifact runs/1/plan cannot be stored under {tmp_path / 'root'}: File too large\nb'old' []\n"
    ), result.stderr


def test_a_root_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        FileArtifacts(tmp_path / "file" / "root").put("x", b"")


def test_putting_and_deleting_beside_each_other(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path / "root")
    failed: list[Exception] = []

    def work(name: str) -> None:
        try:
            for _ in range(100):
                store.put(f"runs/42/{name}", b"x")
                store.delete(f"runs/42/{name}")
        except Exception as error:  # noqa: BLE001 - handed to the test
            failed.append(error)

    workers = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failed == []
