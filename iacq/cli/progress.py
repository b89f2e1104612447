"""What happens while somebody waits: on stderr, one changing line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
from types import TracebackType
from typing import Self

from iacq.cli import output


class Progress:
    """The present state of something; repeated, it is not shown again. A context manager: it cleans up."""

    def __init__(self) -> None:
        self._shown: str | None = None
        self._updating = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def show(self, text: str) -> None:
        """Show the present state."""
        if text == self._shown:
            return
        self._shown = text
        if not self._updating:
            output.note(text)
            return
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r\033[K" + output.printable(text)[:width])
        sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line from a terminal, so that something else can be printed."""
        if self._updating and self._shown is not None:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
        self._shown = None
