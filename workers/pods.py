"""The host of pods on this machine: `python -P -m workers.pods`. It makes those real that control workers ask for."""

from __future__ import annotations

import sys

from iacq import log
from iacq.bootstrap import pods
from iacq.errors import IacqError
from iacq.settings import load


def main() -> None:
    """Serve until SIGTERM or ^C; a further one is forwarded, so that what runs is interrupted."""
    settings = load()
    log.set_up(settings.log_format)
    logger = log.get("workers.pods")
    try:
        pods.serve(settings, logger.info)
    except IacqError as error:
        sys.exit(f"Error: {error.message} ({error.hint})")


if __name__ == "__main__":
    main()
