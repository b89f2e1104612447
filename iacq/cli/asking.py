"""Questions to a person at a terminal."""

from __future__ import annotations

import sys

from iacq.cli import output


def approve(question: str) -> bool | None:
    """Ask as terraform asks: only `yes` is yes. None: the input ended without an answer."""
    output.line()
    output.line(f"\033[1m{question}\033[0m")
    output.line("  Only 'yes' will be accepted to approve.")
    output.line()
    sys.stdout.write("  Enter a value: ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    output.line()
    return answer.strip() == "yes" if answer else None
