"""A wrapper that is used as terraform: it notes each call, then becomes the real one."""

import shutil
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """#!/bin/sh
printf '%s\\t%s\\t%s\\t%s\\n' "$(date +%s%N)" "$$" "$PWD" "$*" >> '{calls}'
if [ -e '{hook}' ]; then . '{hook}'; fi
exec '{terraform}' "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Call:
    at: int  # ns since the epoch
    pid: int
    directory: str  # PWD
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        return self.arguments[0]


class Spy:
    """Write the script; `path` is what IACQ_TERRAFORM says."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.path = directory / "terraform"
        self.terraform = shutil.which("terraform")
        assert self.terraform, "these tests need terraform on PATH: install it (1.11 or newer)"
        self._calls = directory / "calls"
        self._hook = directory / "hook"
        self._calls.touch()
        self.restore()

    def restore(self) -> None:
        """Be the plain wrapper (again)."""
        self._hook.unlink(missing_ok=True)
        self.change("")

    def change(self, comment: str) -> None:
        """Become another program that does the same."""
        text = _SCRIPT.format(calls=self._calls, hook=self._hook, terraform=self.terraform)
        draft = self.path.with_name("draft")
        draft.write_text(f"{text}# {comment}\n")
        draft.chmod(0o755)
        draft.replace(self.path)

    def hook(self, script: str) -> None:
        """Let the wrapper run this shell code first; it sees the arguments, and `$REAL` is terraform."""
        draft = self._hook.with_name("hook.draft")
        draft.write_text(f"REAL='{self.terraform}'\n{script}\n")
        draft.replace(self._hook)

    def calls(self, command: str | None = None, *, run: int | None = None) -> list[Call]:
        """Return the calls, oldest first: of one terraform command, of one run (by its canonical path)."""
        found = [_read(line) for line in self._calls.read_text().splitlines()]
        if command is not None:
            found = [call for call in found if call.command == command]
        if run is not None:
            found = [call for call in found if f"/runs/{run}-" in call.directory]
        return found

    def commands(self, run: int) -> list[str]:
        """Name the commands of a run, in order."""
        return [call.command for call in self.calls(run=run)]


def _read(line: str) -> Call:
    at, pid, directory, arguments = line.split("\t", 3)
    return Call(at=int(at), pid=int(pid), directory=directory, arguments=tuple(arguments.split(" ")))
