"""A terraform that does not stop when it is told to."""

from pathlib import Path

from tests.acceptance.system import System

STUBBORN = """
if [ "$1" = {command} ]; then
  trap 'echo interrupted >> {marks}/interrupts' INT
  echo $$ >> {marks}/pids
  {more}
  while [ ! -e {marks}/open ]; do sleep 0.05; done
  exit 1
fi
"""
"""A terraform that counts interrupts, and ends when it is told to."""


def stubborn(system: System, command: str, tmp_path: Path, more: str = ":") -> Path:
    """Replace one command; gives the directory with its marks: `interrupts`, `pids`, and `open`, which ends it."""
    marks = tmp_path / "marks"
    marks.mkdir()
    system.spy.hook(STUBBORN.format(command=command, marks=marks, more=more.format(marks=marks)))
    return marks


def lines(file: Path) -> list[str]:
    """Return the lines of a file that may not be there yet."""
    return file.read_text().splitlines() if file.exists() else []
