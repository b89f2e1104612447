"""The command line `iacq`: parse, one call of `iacq.client.Client`, print.

No module here decides anything about runs. What a command needs beyond click is imported when it runs:
`iacq --help` imports neither SQLAlchemy nor Celery.
"""

from __future__ import annotations

import gc

from iacq.cli.root import cli

_COLLECT_EVERY = 100_000
"""Objects between two looks for garbage: imports make many and none of it; the looks took 6 % of `iacq runs`."""


def main() -> None:
    """Run the command line of this process; ends it with the exit code that `iacq --help` lists."""
    gc.set_threshold(_COLLECT_EVERY)
    cli.main()
