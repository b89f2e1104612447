"""The command line `iacq`: parse, one call of `iacq.client.Client`, print.

No module here decides anything about runs. What a command needs beyond click is imported when it runs:
`iacq --help` imports neither SQLAlchemy nor Celery.
"""

from __future__ import annotations

import gc

from iacq.cli.root import cli

_OBJECTS = 50_000
"""New objects between two searches for garbage: what a command imports is none, and searching it takes a tenth of its
time."""


def main() -> None:
    """Run the command line of this process; ends it with the exit code that `iacq --help` lists."""
    gc.set_threshold(_OBJECTS)
    cli.main()
