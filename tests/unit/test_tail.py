"""Cutting what a program prints into lines, while it prints."""

import io
import os
from collections.abc import Iterable

from iacq.services.phases.output import Tail


class Growing:
    """A file that somebody else writes to."""

    def __init__(self) -> None:
        self.file = io.BytesIO()
        self.at = 0

    def write(self, data: bytes) -> None:
        self.file.seek(0, os.SEEK_END)
        self.file.write(data)

    def read(self, size: int) -> bytes:
        self.file.seek(self.at)
        data = self.file.read(size)
        self.at += len(data)
        return data


def cut(pieces: Iterable[bytes]) -> list[list[bytes]]:
    """Return what each look finds; the last one is after the end."""
    output = Growing()
    tail = Tail(output.read)
    found = []
    for piece in pieces:
        output.write(piece)
        found.append(list(tail.lines(ended=False)))
    return [*found, list(tail.lines(ended=True))]


def test_lines_as_they_become_complete() -> None:
    assert cut([b"one\ntw", b"o\n", b"", b"three\nfour\n"]) == [[b"one"], [b"two"], [], [b"three", b"four"], []]


def test_the_last_line_needs_no_end() -> None:
    assert cut([b"one\ntwo"]) == [[b"one"], [b"two"]]
    assert cut([b""]) == [[], []]
    assert cut([b"\n\n"]) == [[b"", b""], []]


def test_a_line_of_10_mb_is_one_line() -> None:
    line = b"x" * (10 * 2**20)
    found = cut([line[: 2**20 + 7], line[2**20 + 7 :], b"\nend"])
    assert found == [[], [], [line], [b"end"]]


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    huge = b"y" * (40 * 2**20)
    found = cut([huge, b"zz", b"z\nnext\n"])
    begun, following = (line for look in found for line in look)
    assert huge.startswith(begun)
    assert 16 * 2**20 < len(begun) <= 18 * 2**20
    assert following == b"next"


def test_the_rest_of_a_long_line_is_skipped_to_the_end() -> None:
    huge = b"y" * (17 * 2**20)
    assert [len(line) for look in cut([huge, b"zz", b"zz"]) for line in look] == [17 * 2**20]


def test_any_bytes_may_come() -> None:
    data = bytes(range(256)) * 50
    found = cut([data[:777], data[777:]])
    assert b"\n".join(line for look in found for line in look) == data
