"""What terraform did, written by its own scripts to a file that iacq does not know of.

A line is `begin|end TOKEN RESOURCE PID MS DIRECTORY`. Short lines that are appended are never mixed. The token is a
variable of the run, so it is part of the plan; the directory names the run that iacq says this is.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CONFIGURATION = """
variable "token" { type = string }
variable "pause" { type = number }
resource "terraform_data" "it" {
  count            = %(resources)d
  input            = var.token
  triggers_replace = var.token
  provisioner "local-exec" {
    command = <<-EOT
      note() { echo $1 ${var.token} ${count.index} $$ $(date +%%s%%3N) $PWD >> '%(ledger)s'; }
      note begin; sleep ${var.pause}; note end
    EOT
  }
}
output "token" { value = var.token }
"""
"""Each run replaces every resource."""

_RUN = re.compile(r"/runs/(\d+)-\d+$")


@dataclass(frozen=True, kw_only=True)
class Line:
    began: bool  # False: it ended
    token: str
    resource: int
    pid: int
    at: int  # ms since the epoch
    run: int | None  # as the directory says; None: it is not one of a run


def configuration(ledger: Path, *, resources: int) -> str:
    """Write a configuration whose resources say in the ledger that they are made."""
    return CONFIGURATION % {"ledger": ledger, "resources": resources}


def read(lines: Iterable[str]) -> list[Line]:
    """Read what was written, oldest first. Raises ValueError: a line that nobody wrote like this."""
    return sorted((_parse(line) for line in lines), key=lambda line: line.at)


def _parse(text: str) -> Line:
    word, token, resource, pid, at, directory = text.split()
    return Line(
        began=word == "begin",
        token=token,
        resource=int(resource),
        pid=int(pid),
        at=int(at),
        run=run_of(directory),
    )


def run_of(directory: str) -> int | None:
    """Tell of which run this is the canonical path; None: of none."""
    found = _RUN.search(directory)
    return int(found[1]) if found else None
