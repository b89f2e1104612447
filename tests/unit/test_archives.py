from __future__ import annotations

import gzip
import io
import os
import shutil
import socket
import stat
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from iacq.adapters.sources import archives
from iacq.errors import Conflict, InvalidInput, PhaseFailed, Unavailable

LIMIT = 2**20


def everything(_path: PurePosixPath, _is_directory: bool) -> bool:
    return False


def pack(root: Path) -> bytes:
    return archives.pack(root, exclude=everything, limit=LIMIT)


def unpack(data: bytes, target: Path) -> None:
    archives.unpack(data, target, limit_bytes=LIMIT, limit_entries=100)


def tree_of(root: Path) -> dict[str, tuple[int, str | bytes | None]]:
    found: dict[str, tuple[int, str | bytes | None]] = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (0 if path.is_symlink() else stat.S_IMODE(mode), content)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "modules" / "net").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "main.tf").write_text("# main")
    (root / "modules" / "net" / "main.tf").write_bytes(b"\0\xff" * 1000)
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "secret").write_text("x")
    (root / "secret").chmod(0o400)
    (root / "shared").write_text("x")
    (root / "shared").chmod(0o664)
    (root / "link").symlink_to("modules/net/main.tf")
    (root / "modules" / "up").symlink_to("../empty")
    (root / "dangling").symlink_to("not/there")
    (root / ("long" * 60)).write_text("a name of 240 bytes")
    (root / os.fsdecode(b"caf\xe9 \n x")).write_text("not UTF-8")
    (root / "größe").write_text("UTF-8")
    return root


def test_contents_modes_and_links_come_back(tree: Path, tmp_path: Path) -> None:
    unpack(pack(tree), tmp_path / "out")
    assert tree_of(tmp_path / "out") == tree_of(tree)


def test_the_same_tree_gives_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    first = pack(tree)
    unpack(first, tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere" / "main.tf", (5, 5))
    assert pack(tmp_path / "elsewhere") == first


def test_owners_times_and_setuid_are_not_kept(tree: Path) -> None:
    (tree / "run.sh").chmod(0o4755)
    with tarfile.open(fileobj=io.BytesIO(pack(tree))) as tar:
        for member in tar:
            assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
        assert tar.getmember("run.sh").mode == 0o755


def test_excluded_directories_are_not_entered(tree: Path) -> None:
    asked: list[str] = []

    def exclude(path: PurePosixPath, is_directory: bool) -> bool:
        asked.append(str(path))
        return is_directory and path.name == "modules"

    with tarfile.open(fileobj=io.BytesIO(archives.pack(tree, exclude=exclude, limit=LIMIT))) as tar:
        assert not [name for name in tar.getnames() if name.startswith("modules")]
    assert "modules" in asked
    assert "modules/net" not in asked


def test_sockets_and_pipes_are_left_out(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tree / "s"))
        with tarfile.open(fileobj=io.BytesIO(pack(tree))) as tar:
            assert not {"pipe", "s"} & set(tar.getnames())


def test_a_hard_link_is_packed_as_a_file(tree: Path, tmp_path: Path) -> None:
    os.link(tree / "main.tf", tree / "other.tf")
    unpack(pack(tree), tmp_path / "out")
    assert (tmp_path / "out" / "other.tf").read_text() == "# main"


def test_over_the_limit_names_limit_largest_and_fix(tree: Path) -> None:
    (tree / "node_modules").mkdir()
    (tree / "node_modules" / "blob").write_bytes(os.urandom(3 * LIMIT))
    with pytest.raises(InvalidInput) as caught:
        pack(tree)
    assert "more than 1 MiB" in caught.value.message
    assert "'node_modules/' (3 MiB)" in caught.value.message
    assert ".terraformignore" in str(caught.value.hint)


def test_what_would_not_unpack_is_not_packed(tree: Path) -> None:
    with (tree / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InvalidInput, match="holds more than 1 GiB"):
        pack(tree)


def test_the_limit_holds_for_the_last_byte(tree: Path) -> None:
    size = len(pack(tree))
    assert len(archives.pack(tree, exclude=everything, limit=size)) == size
    with pytest.raises(InvalidInput, match="packs to more than"):
        archives.pack(tree, exclude=everything, limit=size - 1)


def test_memory_stays_near_the_packed_size(tmp_path: Path) -> None:
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(64 * 2**20)
    tracemalloc.start()
    data = archives.pack(tmp_path, exclude=everything, limit=LIMIT)
    archives.unpack(data, tmp_path / "out", limit_bytes=2**30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "out" / "zeros").stat().st_size == 64 * 2**20
    assert peak < 8 * 2**20


@pytest.mark.parametrize("target", ["/etc/passwd", "../other", "modules/../../other", "a-circle"])
def test_a_link_out_of_the_tree_is_refused_by_name(tree: Path, target: str) -> None:
    (tree / "a-circle").symlink_to(target)
    with pytest.raises(InvalidInput, match=r"'a-circle' in .* leads outside or in a circle"):
        pack(tree)


def test_a_link_that_leaves_by_another_link_is_refused(tree: Path) -> None:
    (tree / "modules" / "net" / "up").symlink_to("..")
    (tree / "sly").symlink_to("modules/net/up/../../etc")
    with pytest.raises(InvalidInput, match="'sly'"):
        pack(tree)


def test_a_file_that_changes_meanwhile_is_named(tree: Path) -> None:
    def exclude(path: PurePosixPath, _is_directory: bool) -> bool:
        if path.name == "secret":  # after main.tf was listed
            (tree / "main.tf").write_text("# longer than before")
        return False

    with pytest.raises(InvalidInput, match=r"'main.tf' in .* changed while it was packed"):
        archives.pack(tree, exclude=exclude, limit=LIMIT)


# What nobody vouches for


def member(
    name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", content: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(content), 0o644
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return sink.getvalue()


SYM, HARD, DIRECTORY = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE

HOSTILE = {
    "absolute": [member("/etc/cron.d/x", content=b"x")],
    "dots": [member("../x", content=b"x")],
    "dots inside": [member("a/../../x", content=b"x")],
    "dots at the end": [member("a/..", DIRECTORY)],
    "nameless file": [member("./", content=b"x")],
    "absolute link": [member("a", SYM, link="/etc")],
    "link out": [member("a", SYM, link="..")],
    "link out by a link": [
        member("d", DIRECTORY),
        member("d/e", SYM, link=".."),
        member("f", SYM, link="d/e/../../x"),
    ],
    "circle": [member("a", SYM, link="b"), member("b", SYM, link="a")],
    "through a link": [member("a", SYM, link="b"), member("a/x", content=b"x"), member("b", DIRECTORY)],
    "through a later link": [member("a/x", content=b"x"), member("a", SYM, link="b")],
    "below a file": [member("a", content=b"x"), member("a/x", content=b"x")],
    "twice": [member("a", content=b"x"), member("./a", content=b"y")],
    "file over directory": [member("a", DIRECTORY), member("a", content=b"y")],
    "link over file": [member("a", content=b"x"), member("a", SYM, link="b")],
    "hard link out": [member("a", HARD, link="/etc/passwd")],
    "hard link to a link": [member("a", SYM, link="b"), member("c", HARD, link="a")],
    "hard link to what comes later": [member("a", HARD, link="b"), member("b", content=b"x")],
    "empty link": [member("a", SYM, link="")],
    "pipe": [member("a", tarfile.FIFOTYPE)],
    "device": [member("a", tarfile.CHRTYPE)],
    "block device": [member("a", tarfile.BLKTYPE)],
    "unknown type": [member("a", b"Z")],
    "long part": [member("a" * 256, content=b"x")],
    "long path": [member("a/" * 2000 + "x", content=b"x")],
    "too large": [member("a", content=bytes(LIMIT)), member("b", content=b"x")],
    "large by copies": [
        member("a", content=bytes(LIMIT // 2)),
        *[member(f"c{n}", HARD, link="a") for n in range(2)],
    ],
    "too many": [member(str(number)) for number in range(101)],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_archives_are_refused_before_anything_is_written(
    members: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="the archive is refused: ") as caught:
        unpack(archive(*members), tmp_path / "in" / "target")
    assert caught.value.code == "bad_archive"
    assert not (tmp_path / "in").exists()


def sparse_bomb() -> bytes:
    info = tarfile.TarInfo("a")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**60)}
    info.size = 512
    return archive((info, b"0\n".ljust(512, b"\0")))


def header_bomb() -> bytes:
    info = tarfile.TarInfo("a")
    info.pax_headers = {"comment": "x" * (64 * 2**20)}
    return archive((info, b""))


def zeros_bomb() -> bytes:
    return gzip.compress(bytes(64 * 2**20))


def second_archive() -> bytes:
    plain = gzip.decompress(archive(member("a", content=b"x")))
    return gzip.compress(plain + plain)


def damaged_header() -> bytes:
    plain = bytearray(gzip.decompress(archive(member("a", content=b"x"), member("b", content=b"y"))))
    plain[1024 + 5] ^= 1  # the second header: tarfile takes it for the end
    return gzip.compress(bytes(plain))


def huge_size() -> bytes:
    info = tarfile.TarInfo("a")
    info.size = 2**62
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT))


def nul_in_the_name() -> bytes:
    info = tarfile.TarInfo("a")
    info.pax_headers = {"path": "a\0b"}
    return archive((info, b""))


def negative_size() -> bytes:
    info = tarfile.TarInfo("a")
    info.pax_headers = {"size": "-1024"}
    return archive((info, b""))


BROKEN: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"hello",
    "gzip of text": lambda: gzip.compress(b"hello"),
    "cut": lambda: archive(member("a", content=os.urandom(5000)))[:-100],
    "wrong sum": lambda: archive(member("a", content=b"x"))[:-8] + bytes(8),
    "flipped": lambda: (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:])(
        archive(member("a", content=os.urandom(5000)))
    ),
    "sparse": sparse_bomb,
    "headers": header_bomb,
    "zeros": zeros_bomb,
    "second archive": second_archive,
    "damaged header": damaged_header,
    "huge": huge_size,
    "negative": negative_size,
    "nul": nul_in_the_name,
}


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN.keys())
def test_broken_archives_and_bombs_are_refused(make: Callable[[], bytes], tmp_path: Path) -> None:
    data = make()
    tracemalloc.start()
    with pytest.raises(InvalidInput, match="the archive is refused: "):
        unpack(data, tmp_path / "in" / "target")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20
    assert not (tmp_path / "in").exists()


def test_an_inside_hard_link_becomes_a_copy(tmp_path: Path) -> None:
    unpack(archive(member("d/a", content=b"x"), member("b", HARD, link="./d/a")), tmp_path / "out")
    assert (tmp_path / "out" / "b").read_bytes() == b"x"
    assert (tmp_path / "out" / "b").stat().st_nlink == 1


def test_archives_of_gnu_tar_are_understood(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        for info, content in (member("./", DIRECTORY), member("./" + "long/" * 40 + "main.tf", content=b"x")):
            tar.addfile(info, io.BytesIO(content))
    unpack(sink.getvalue(), tmp_path / "out")
    assert (tmp_path / "out" / ("long/" * 40) / "main.tf").read_bytes() == b"x"


def test_unpacking_needs_an_empty_directory(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="is not empty"):
        unpack(pack(tree), tree)
    (tmp_path / "ready").mkdir()
    unpack(pack(tree), tmp_path / "ready")


def test_a_target_that_cannot_be_written_is_unavailable(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot unpack into"):
        unpack(pack(tree), tmp_path / "file" / "out")


# Snapshots


def test_a_snapshot_is_the_directory_as_the_plan_left_it(tree: Path, tmp_path: Path) -> None:
    (tree / ".terraformignore").write_text("*.zip\n")
    (tree / "generated.zip").write_text("made by the plan")
    (tree / ".terraform" / "modules" / "m" / ".git").mkdir(parents=True)
    (tree / ".terraform" / "modules" / "m" / "providers").mkdir()
    (tree / ".terraform" / "providers" / "p").mkdir(parents=True)
    (tree / ".terraform" / "providers" / "p" / "link").symlink_to("/mirror")
    (tree / ".git").write_text("gitdir: elsewhere")
    (tree / "terraform.tfstate").write_text("{}")
    (tree / "plan.out").write_bytes(b"plan")
    (tree / "venv-python").symlink_to("/usr/bin/python3")
    archives.unpack_snapshot(archives.pack_snapshot(tree), tmp_path / "out")
    before, after = tree_of(tree), tree_of(tmp_path / "out")
    assert before.keys() - after.keys() == {
        ".git",
        ".terraform/modules/m/.git",
        ".terraform/providers",
        ".terraform/providers/p",
        ".terraform/providers/p/link",
    }
    assert after == {name: value for name, value in before.items() if name in after}


def test_a_snapshot_over_the_limit_fails_the_phase(tree: Path) -> None:
    with pytest.raises(PhaseFailed, match=r"cannot be kept: .* packs to more than") as caught:
        archives.pack_snapshot(tree, limit=100)
    assert caught.value.hint


def test_a_snapshot_never_writes_through_its_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    outward = member("a", SYM, link=str(tmp_path / "outside"))
    archives.unpack_snapshot(archive(outward, member("b", content=b"x")), tmp_path / "fine")
    with pytest.raises(PhaseFailed, match="lies below") as caught:
        archives.unpack_snapshot(archive(outward, member("a/x", content=b"x")), tmp_path / "out")
    assert caught.value.code == "unreadable"
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_damaged_snapshot_is_unreadable(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(PhaseFailed) as caught:
        archives.unpack_snapshot(archives.pack_snapshot(tree)[:-20], tmp_path / "out")
    assert caught.value.code == "unreadable"


GENERATES = """
resource "terraform_data" "x" {
  input = file("${path.module}/templates/a.txt")
}
"""


def test_terraform_applies_a_restored_plan_without_init(tmp_path: Path) -> None:
    terraform = shutil.which("terraform")
    assert terraform, "terraform is not on PATH"
    planned = tmp_path / "run"
    (planned / "templates").mkdir(parents=True)
    (planned / "templates" / "a.txt").write_text("hello")
    (planned / "main.tf").write_text(GENERATES)
    for arguments in (["init"], ["plan", "-out=plan.out"]):
        subprocess.run(
            [terraform, *arguments, "-input=false"], cwd=planned, check=True, capture_output=True, timeout=300
        )
    snapshot = archives.pack_snapshot(planned)
    planned.rename(tmp_path / "lost")
    archives.unpack_snapshot(snapshot, planned)
    subprocess.run(
        [terraform, "apply", "-input=false", "plan.out"],
        cwd=planned,
        check=True,
        capture_output=True,
        timeout=300,
    )
    assert "hello" in (planned / "terraform.tfstate").read_text()
