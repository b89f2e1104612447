"""Looks at processes through /proc: is one alive, what descends from us, what was left behind."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Process:
    pid: int
    parent: int
    state: str  # a letter: R, S, D, T, Z …
    command: str

    def __str__(self) -> str:
        return f"{self.pid} (child of {self.parent}, {self.state}): {self.command}"


def look(pid: int) -> Process | None:
    """Return what /proc says of a process; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    name, rest = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
    command = b" ".join(words).decode(errors="replace").strip() or f"[{name}]"
    return Process(pid=pid, parent=int(rest[1]), state=rest[0], command=command)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not yet waited for does not."""
    process = look(pid)
    return process is not None and process.state != "Z"


def everything() -> list[Process]:
    found = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process]


def descendants(*of: int) -> list[Process]:
    """Return the living children of processes, their children, and so on."""
    living = [process for process in everything() if process.state != "Z"]
    family, grown = set(of), True
    while grown:
        more = {process.pid for process in living if process.parent in family} - family
        family |= more
        grown = bool(more)
    return [process for process in living if process.pid in family - set(of)]


def working_in(directory: Path) -> list[Process]:
    """Return the living processes whose command line, directory or environment names `directory`."""
    wanted = os.fsencode(directory) + b"/"
    return [process for process in everything() if process.state != "Z" and _mentions(process.pid, wanted)]


def _mentions(pid: int, wanted: bytes) -> bool:
    try:
        if os.fsencode(os.readlink(f"/proc/{pid}/cwd")).startswith(wanted):
            return True
        return any(wanted in Path(f"/proc/{pid}/{file}").read_bytes() for file in ("cmdline", "environ"))
    except OSError:  # it ended, or belongs to somebody else
        return False
