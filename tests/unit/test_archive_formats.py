"""Archives of every format, as people give them: what is in them is the same, what is wrong with them is named."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from iacq.adapters.sources.local_source import LocalSource
from iacq.domain.source import SourceKind, SourceLocation
from iacq.errors import InvalidInput
from iacq.settings import Settings

LIMIT = 2**20
MAIN = ("main.tf", b'output "it" { value = 1 }\n')


def info(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    return made


def zipped(*entries: tuple[zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for entry, content in entries:
            archive.writestr(entry, content, method)
    return sink.getvalue()


def tarred(*entries: tuple[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return sink.getvalue()


ENTRIES = (
    MAIN,
    ("modules/x/main.tf", b'terraform {\n  backend "s3" {}\n}\n'),
    ("terraform.tfstate", b""),
    (".git/config", b"[core]\n"),
)
FORMATS: dict[str, Callable[[], bytes]] = {
    "tar": lambda: tarred(*ENTRIES),
    "tar.gz": lambda: gzip.compress(tarred(*ENTRIES)),
    "tar.bz2": lambda: bz2.compress(tarred(*ENTRIES)),
    "tar.xz": lambda: lzma.compress(tarred(*ENTRIES)),
    "two streams.xz": lambda: lzma.compress(tarred(*ENTRIES)[:600]) + lzma.compress(tarred(*ENTRIES)[600:]) + bytes(8),
    "zip": lambda: zipped(*((info(name), content) for name, content in ENTRIES)),
    "zip of Windows": lambda: zipped(*((info(name, 0), content) for name, content in ENTRIES)),
}


def at(file: Path, subdir: str | None = None) -> SourceLocation:
    return SourceLocation(kind=SourceKind.ARCHIVE, at=str(file), subdir=subdir)


def pack(file: Path, data: bytes, subdir: str | None = None) -> dict[str, bytes]:
    """Pack an archive as an enqueue does; returns what is in the package."""
    file.write_bytes(data)
    packed = LocalSource(Settings(max_source=LIMIT)).pack(at(file, subdir), limit=LIMIT)
    with tarfile.open(fileobj=io.BytesIO(packed.data)) as tar:
        return {m.name: tar.extractfile(m).read() if m.isreg() else m.linkname.encode() for m in tar if not m.isdir()}


@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS.keys())
def test_every_format_is_packed_like_a_directory(make, tmp_path):
    assert pack(tmp_path / "a", make()) == dict(ENTRIES[:2])
    facts = LocalSource(Settings()).look(at(tmp_path / "a", "modules/x"))
    assert facts.configuration.backend == "s3"


def test_a_zip_keeps_modes_and_inside_links(tmp_path):
    link = (info("link.tf", stat.S_IFLNK | 0o777), b"main.tf")
    data = zipped((info("main.tf"), MAIN[1]), (info("run.sh", stat.S_IFREG | 0o755), b""), link, (info("d/"), b""))
    assert pack(tmp_path / "a", data)["link.tf"] == b"main.tf"


def test_one_directory_at_the_top_is_named_in_the_hint(tmp_path):
    data = tarred(("network-1.2/main.tf", MAIN[1]))
    with pytest.raises(InvalidInput, match="holds no terraform configuration") as caught:
        pack(tmp_path / "a", data)
    assert "--subdir network-1.2" in str(caught.value.hint)
    assert pack(tmp_path / "a", data, "network-1.2") == {"network-1.2/main.tf": MAIN[1]}


def encrypted() -> bytes:
    data = bytearray(zipped((info("main.tf"), MAIN[1])))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


def corrupt() -> bytes:
    data = bytearray(zipped((info("main.tf"), MAIN[1]), method=zipfile.ZIP_STORED))
    data[data.index(MAIN[1])] ^= 1
    return bytes(data)


def lying_about_sizes() -> bytes:
    """Declares one byte, unpacks to more; and the other way round."""
    data = bytearray(zipped((info("main.tf"), MAIN[1])))
    at = data.index(b"PK\1\2")
    data[at + 24 : at + 28] = (2**31 - 2).to_bytes(4, "little")
    return bytes(data)


def many() -> bytes:
    data = bytearray(zipped((info("main.tf"), MAIN[1])))
    data[-22 + 12 : -22 + 16] = (33 * 2**20).to_bytes(4, "little")  # the directory of 700,000 files
    return bytes(data)


def many_more() -> bytes:
    """What allows more than 65,535 entries."""
    data = zipped((info("main.tf"), MAIN[1]))
    return data[:-22] + b"PK\6\7" + bytes(16) + data[-22:]


def xz_with_a_huge_dictionary() -> bytes:
    return lzma.compress(tarred(MAIN), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 512 * 2**20}])


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "absolute": (lambda: zipped((info("/etc/cron.d/x"), b"")), "leads outside"),
    "dots": (lambda: zipped((info("a/../../x"), b"")), "leads outside"),
    "link outside": (lambda: zipped((info("a", stat.S_IFLNK | 0o777), b"/etc/passwd")), "leads outside"),
    "below a link": (
        lambda: zipped((info("a", stat.S_IFLNK | 0o777), b"b"), (info("a/x"), b""), (info("b/x"), b"")),
        "lies below",
    ),
    "device": (lambda: zipped((info("a", stat.S_IFCHR | 0o644), b"")), "neither a file"),
    "pipe": (lambda: zipped((info("a", stat.S_IFIFO | 0o644), b"")), "neither a file"),
    "encrypted": (encrypted, "'main.tf' is encrypted"),
    "corrupt": (corrupt, "not a whole zip"),
    "cut zip": (lambda: zipped((info("main.tf"), MAIN[1]))[:-30], "not a whole zip"),
    "sizes": (lying_about_sizes, "unpacks to more than"),
    "too many": (many, "too many entries"),
    "zip64": (many_more, "too many entries"),
    "cut xz": (lambda: lzma.compress(tarred(*ENTRIES))[:-20], "not a whole tar.xz"),
    "cut bz2": (lambda: bz2.compress(tarred(*ENTRIES))[:-20], "not a whole tar.bz2"),
    "xz dictionary": (xz_with_a_huge_dictionary, "not a whole tar.xz"),
    "bz2 bomb": (lambda: bz2.compress(bytes(64 * 2**20)), "headers are too large"),
    "zstd": (lambda: b"\x28\xb5\x2f\xfd" + bytes(100), "not a whole tar, tar.gz, tar.bz2, tar.xz or zip"),
    "text": (lambda: b"hello" * 500, "not a whole tar, tar.gz"),
}


@pytest.mark.parametrize(("make", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_one_clear_error(make, said, tmp_path, monkeypatch):
    file = tmp_path / "given.zip"
    data = make()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    tracemalloc.start()
    with pytest.raises(InvalidInput, match=said) as caught:
        pack(file, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.message.startswith(f"{file} is refused: ")
    assert (caught.value.field, caught.value.code) == ("--archive", "bad_archive")
    assert caught.value.hint
    assert str(temporary) not in caught.value.message
    assert list(temporary.iterdir()) == []
    assert peak < 64 * 2**20


def test_what_cannot_be_read_is_named(tmp_path):
    for file in (tmp_path / "absent.zip", tmp_path):
        with pytest.raises(InvalidInput, match="cannot be read") as caught:
            LocalSource(Settings()).look(at(file))
        assert caught.value.field == "--archive"


def test_a_subdirectory_of_a_directory_brings_what_lies_beside_it(tmp_path):
    for name in ("envs/prod/main.tf", "modules/x/main.tf", "envs/prod/.terraform/x"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text("")
    location = SourceLocation(kind=SourceKind.PATH, at=str(tmp_path / "in"), subdir="envs/prod")
    source = LocalSource(Settings())
    with tarfile.open(fileobj=io.BytesIO(source.pack(location, limit=LIMIT).data)) as tar:
        assert {m.name for m in tar if m.isreg()} == {"envs/prod/main.tf", "modules/x/main.tf"}
    (tmp_path / "in" / ".terraformignore").write_text("envs\n")
    with pytest.raises(InvalidInput, match=r"\.terraformignore leaves out envs/prod/main.tf"):
        source.pack(location, limit=LIMIT)
