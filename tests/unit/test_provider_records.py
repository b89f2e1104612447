import os

import pytest

from iacq.adapters.providers import packages
from iacq.adapters.providers.records import Record


@pytest.fixture
def record(tmp_path) -> Record:
    package = tmp_path / "package"
    package.mkdir()
    (package / "terraform-provider-x").write_bytes(b"one")
    return Record(package=package, file=tmp_path / "hashes" / "x.json")


def program(record: Record):
    return record.package / "terraform-provider-x"


def test_the_first_hash_is_kept_and_a_change_is_noticed(record):
    first = record.h1()
    assert first == packages.h1(record.package)
    assert not record.is_changed()
    before = program(record).stat()
    program(record).write_bytes(b"two")
    os.utime(program(record), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert record.is_changed()
    assert record.h1() != first
    assert record.is_changed(), "looking at it does not make it right"
    program(record).write_bytes(b"one")
    assert (record.is_changed(), record.h1()) == (False, first)


def test_a_file_more_is_a_change(record):
    record.h1()
    (record.package / "more").write_bytes(b"")
    assert record.is_changed()


def test_an_untouched_package_is_not_read(record):
    first = record.h1()
    stored = record.file.read_text()
    record.file.write_text(stored.replace(first, "h1:other"))
    assert record.h1() == "h1:other"


def test_what_accepts_it(record):
    assert not record.accepts(["zh:a"])
    record.accept(["zh:a", "h1:b"])  # nothing is known of it yet
    record.h1()
    record.accept(["zh:a", "h1:b"])
    record.accept(["zh:a", "h1:b"])
    assert record.accepts(["h1:b", "zh:a"])
    assert record.accepts(["h1:b", "zh:a", "zh:more"])
    assert not record.accepts(["zh:a"])
    assert not record.accepts([])
    for number in range(100):
        record.accept([f"zh:{number}"])
    assert record.accepts(["zh:99"])
    assert not record.accepts(["zh:a", "h1:b"]), "only the newest are remembered"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"h1": 1, "files": [], "accepted": []}'])
def test_a_broken_record_is_made_again(record, text):
    first = record.h1()
    record.file.write_text(text)
    assert not record.accepts(["x"])
    assert record.h1() == first
    assert not record.is_changed()
