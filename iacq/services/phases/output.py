"""What a terraform command prints: cut into lines, shown in the run's log, and folded into progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from iacq.domain import terraform_events
from iacq.domain.terraform_events import Event, Progress
from iacq.keeper import files
from iacq.services.phases.logwriter import LogWriter

_READ = 1024 * 1024
_LONGEST_LINE = 16 * 1024 * 1024


class Output:
    """The output of one command, in its job's directory. A context manager."""

    def __init__(self, log: LogWriter, job: Path, *, show: bool = True, hidden: frozenset[str] = frozenset()) -> None:
        """show: write it to the run's log, but not events of the `hidden` kinds."""
        self.progress = Progress()
        self._log = log
        self._job = job
        self._show_it = show
        self._hidden = hidden
        self._logged = log.follow_file(job / "logged")
        self._file: BinaryIO | None = None
        self._tail = Tail(self._read)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def take(self, *, ended: bool) -> None:
        """Take what was printed since the last call; `ended`: nothing more will come."""
        for line in self._tail.lines(ended=ended):
            event = terraform_events.parse(line, self._log.masking)
            self.progress.update(event)
            # What an earlier process of this slot logged before it died is not logged again.
            if self._show_it and event.kind not in self._hidden and self._tail.offset > self._logged:
                self._show(event)
                self._log.note(self._tail.offset)
        if ended:
            self._take_errors()

    def _take_errors(self) -> None:
        try:
            said = (self._job / files.ERR).read_bytes()
        except FileNotFoundError:
            return
        for line in said.splitlines():
            event = terraform_events.parse(line, self._log.masking)
            self.progress.update(event)
            if event.kind not in self._hidden:
                self._show(event)

    def _read(self, size: int) -> bytes:
        """Read on in a file that the command creates a moment after it was started."""
        if self._file is None:
            try:
                self._file = (self._job / files.OUT).open("rb")
            except FileNotFoundError:
                return b""
        return self._file.read(size)

    def _show(self, event: Event) -> None:
        text = terraform_events.render(event)
        if text is not None:
            self._log.write(text)


class Tail:
    """Cuts what a file grows by into lines. A line without an end is held back until it has one, or all has ended.

    Of a line that is longer than any memory should hold only the beginning is yielded: from what follows a secret that
    the cut divides could not be told.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.offset = 0  # bytes up to the end of what was yielded last
        self._read = read
        self._rest = b""
        self._skipping = False  # the rest of a line that was too long

    def lines(self, *, ended: bool) -> Iterator[bytes]:
        """Yield the lines that are complete now; with `ended` the last one too."""
        while data := self._read(_READ):
            *complete, self._rest = (self._rest + data).split(b"\n")
            for line in complete:
                self.offset += len(line) + 1
                if not self._skipping:
                    yield line
                self._skipping = False
            if self._skipping or len(self._rest) > _LONGEST_LINE:
                yield from self._take_rest()
                self._skipping = True
        if ended:
            yield from self._take_rest()

    def _take_rest(self) -> Iterator[bytes]:
        line, self._rest = self._rest, b""
        self.offset += len(line)
        if line and not self._skipping:
            yield line
