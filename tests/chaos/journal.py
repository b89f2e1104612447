"""What was done to the system, when, to whom, and which runs it met; written down at once."""

import json
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.schedule import Kind


@dataclass(kw_only=True)
class Entry:
    """One fault as it happened. Times are ms since the epoch."""

    kind: Kind
    target: str
    at: int
    until: int | None = None  # when what was away was back; None: it is not yet
    runs: set[int] = field(default_factory=set)  # whose processes it may have met
    note: str = ""

    def text(self, began: int) -> str:
        """Describe it in a line; began: when the time starts that is shown."""
        lasted = f" for {(self.until - self.at) / 1000:.1f} s" if self.until and self.until - self.at > 50 else ""
        met = f"; met run {', '.join(map(str, sorted(self.runs)))}" if self.runs else ""
        note = f" ({self.note})" if self.note else ""
        return f"{(self.at - began) / 1000:7.2f} s  {self.kind} {self.target}{lasted}{met}{note}"


class Journal:
    """Several threads write it. Each line of the file is complete: whoever stops this program can still read it."""

    def __init__(self, file: Path) -> None:
        self.began = now_ms()
        self._file = file
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        """Let the time that people read begin now."""
        self.began = now_ms()

    def begin(self, kind: Kind, target: str, runs: Collection[int] = (), note: str = "") -> Entry:
        """Write that a fault begins now."""
        return self._add(Entry(kind=kind, target=target, at=now_ms(), runs=set(runs), note=note))

    def end(self, entry: Entry, runs: Iterable[int] = ()) -> None:
        """Write that it is over; runs: that it met, too."""
        entry.runs |= set(runs)
        entry.until = now_ms()
        self._write(entry)

    def entries(self) -> list[Entry]:
        """Return all, oldest first."""
        with self._lock:
            return sorted(self._entries, key=lambda entry: entry.at)

    def _add(self, entry: Entry) -> Entry:
        with self._lock:
            self._entries.append(entry)
        self._write(entry)
        return entry

    def _write(self, entry: Entry) -> None:
        said = {**vars(entry), "runs": sorted(entry.runs)}
        with self._lock, self._file.open("a") as file:
            file.write(json.dumps(said) + "\n")


def now_ms() -> int:
    return time.time_ns() // 1_000_000
