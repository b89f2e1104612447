"""The command line `iacq`: parse, one call of `iacq.client.Client`, print.

No module here decides anything about runs. What a command needs beyond click is imported when it runs:
`iacq --help` imports neither SQLAlchemy nor Celery.
"""

from __future__ import annotations

from iacq.cli.root import cli


def main() -> None:
    """Run the command line of this process; ends it with the exit code that `iacq --help` lists."""
    cli.main()
